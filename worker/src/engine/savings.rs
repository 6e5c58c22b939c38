//! Which of the exact savings are made.

use std::str::FromStr;

use tch::Device;

use super::norm::is_fused_on;

/// The savings of the engine. Each leaves the result as it is in real arithmetic (ANCHORS 4), so in use all are
/// made; one at a time is for tests and for measuring what each brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savings {
    /// Maps are stored channel after channel of a pixel, as convolutions read them.
    pub channels_last: bool,
    /// One pass for GroupNorm, scale and shift, SiLU and the joining of skips, for channels-last maps.
    pub fused_norm: bool,
    /// Scales and shifts of all residual blocks are kept for every time and label.
    pub tables: bool,
    /// The class tokens of an attention block act as one token.
    pub class_token: bool,
    /// Attention in tiles, without the matrix of weights.
    pub flash: bool,
    /// Healthy and null prediction in one batch.
    pub pair: bool,
    /// What does not depend on the label is computed once for such a pair.
    pub stem: bool,
    /// Several times of a DDPM walk in one batch, where a batch of slices is too small to fill the device.
    pub times: bool,
    /// Doubling and 3x3 convolution as four 2x2 convolutions of the small map.
    pub upsample: bool,
    /// 3x3 convolutions by Winograd's algorithm, for channels-last float32 maps on the CPU.
    pub winograd: bool,
    /// The process keeps the memory of freed maps ([`crate::torch::memory::keep`]); the engine itself does nothing
    /// about it.
    pub kept_memory: bool,
}

type Field = fn(&mut Savings) -> &mut bool;

const FIELDS: [(&str, Field); 11] = [
    ("channels-last", |s| &mut s.channels_last),
    ("fused-norm", |s| &mut s.fused_norm),
    ("tables", |s| &mut s.tables),
    ("class-token", |s| &mut s.class_token),
    ("flash", |s| &mut s.flash),
    ("pair", |s| &mut s.pair),
    ("stem", |s| &mut s.stem),
    ("times", |s| &mut s.times),
    ("upsample", |s| &mut s.upsample),
    ("winograd", |s| &mut s.winograd),
    ("kept-memory", |s| &mut s.kept_memory),
];

impl Savings {
    /// All of them.
    pub const ALL: Self = Self {
        channels_last: true,
        fused_norm: true,
        tables: true,
        class_token: true,
        flash: true,
        pair: true,
        stem: true,
        times: true,
        upsample: true,
        winograd: true,
        kept_memory: true,
    };

    /// What scoring uses on `device`. libtorch's GroupNorm returns channels-last maps of a GPU in the plain order, so
    /// that they would be laid out anew around every norm: without our own they stay in the plain order. A CPU is full
    /// with one slice: several times at once would take memory for next to nothing.
    pub fn on(device: Device) -> Self {
        match device {
            Device::Cpu => Self::ALL.without("times"),
            _ if is_fused_on(device) => Self::ALL,
            _ => Self::ALL.without("channels-last"),
        }
    }

    /// None: the plain network.
    pub const NONE: Self = Self {
        channels_last: false,
        fused_norm: false,
        tables: false,
        class_token: false,
        flash: false,
        pair: false,
        stem: false,
        times: false,
        upsample: false,
        winograd: false,
        kept_memory: false,
    };

    /// Names of all savings, as [`FromStr`] takes them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|(name, _)| *name)
    }

    /// Whether the saving `name` is made.
    pub fn has(mut self, name: &str) -> bool {
        FIELDS
            .iter()
            .any(|(known, field)| *known == name && *field(&mut self))
    }

    /// This set without the saving `name`; unchanged where there is none of that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            *field(&mut self) = false;
        }
        self
    }
}

/// Not the name of a saving.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown saving '{0}': all, none, or some of {known} separated by commas", known = Savings::names().collect::<Vec<_>>().join(", "))]
pub struct UnknownSaving(String);

impl FromStr for Savings {
    type Err = UnknownSaving;

    /// `all`, `none`, or names separated by commas; a name with `-` in front takes that one out of all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let mut savings = if text.starts_with('-') {
            Self::ALL
        } else {
            Self::NONE
        };
        for word in text.split(',') {
            let (name, on) = match word.strip_prefix('-') {
                Some(name) => (name, false),
                None => (word, true),
            };
            let (_, field) = FIELDS
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| UnknownSaving(word.to_owned()))?;
            *field(&mut savings) = on;
        }
        Ok(savings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_by_name() {
        let parse = |text: &str| text.parse::<Savings>();
        assert_eq!(parse("all"), Ok(Savings::ALL));
        assert_eq!(parse("none"), Ok(Savings::NONE));
        assert_eq!(
            parse(&Savings::names().collect::<Vec<_>>().join(",")),
            Ok(Savings::ALL)
        );
        let pair = Savings {
            pair: true,
            ..Savings::NONE
        };
        assert_eq!(parse("pair"), Ok(pair));
        let but_pair = Savings {
            pair: false,
            ..Savings::ALL
        };
        assert_eq!(parse("-pair"), Ok(but_pair));
        assert_eq!(Savings::ALL.without("pair"), but_pair);
        let message = parse("pair,nothing").unwrap_err().to_string();
        assert!(
            message.contains("'nothing'") && message.contains("class-token"),
            "{message}"
        );
    }
}
