//! Which of the exact optimizations are made.

use std::str::FromStr;

use bitflags::bitflags;
use tch::Device;

use super::norm::is_fused_on;

bitflags! {
    /// The optimizations of the engine. Each leaves the result as it is in real arithmetic, so in use all are made; one
    /// at a time is for tests and for measuring what each brings.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Optimizations: u16 {
        /// Maps are stored channel after channel of a pixel, as convolutions read them.
        const CHANNELS_LAST = 1 << 0;
        /// One pass for GroupNorm, scale and shift, SiLU and the joining of skips, for channels-last maps.
        const FUSED_NORM = 1 << 1;
        /// Scales and shifts of all residual blocks are kept for every time and label.
        const TABLES = 1 << 2;
        /// The class tokens of an attention block act as one token.
        const CLASS_TOKEN = 1 << 3;
        /// Attention in tiles, without the matrix of weights.
        const FLASH = 1 << 4;
        /// Healthy and null prediction in one batch.
        const PAIR = 1 << 5;
        /// What does not depend on the label is computed once for such a pair.
        const STEM = 1 << 6;
        /// Several times of a DDPM walk in one batch, where a batch of slices is too small to fill the device.
        const TIMES = 1 << 7;
        /// Doubling and 3x3 convolution as four 2x2 convolutions of the small map.
        const UPSAMPLE = 1 << 8;
        /// 3x3 convolutions by Winograd's algorithm, for channels-last float32 maps on the CPU.
        const WINOGRAD = 1 << 9;
        /// The process keeps the memory of freed maps ([`crate::torch::memory::keep`]); the engine itself does nothing
        /// about it.
        const KEPT_MEMORY = 1 << 10;
    }
}

impl Optimizations {
    /// What scoring uses on `device`. libtorch's GroupNorm returns channels-last maps of a GPU in the plain order, so
    /// that they would be laid out anew around every norm: without our own they stay in the plain order. A CPU is full
    /// with one slice: several times at once would take memory for next to nothing.
    pub fn on(device: Device) -> Self {
        match device {
            Device::Cpu => Self::all() - Self::TIMES,
            _ if is_fused_on(device) => Self::all(),
            _ => Self::all() - Self::CHANNELS_LAST,
        }
    }

    /// The names of those in this set, as [`FromStr`] takes them: `channels-last` and so on.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.iter_names().map(|(name, _)| written(name))
    }
}

/// The name of a flag as people write it.
fn written(flag: &str) -> String {
    flag.to_lowercase().replace('_', "-")
}

/// Not the name of an optimization.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown saving '{0}': all, none, or some of {known} separated by commas",
    known = Optimizations::all().names().collect::<Vec<_>>().join(", ")
)]
pub struct UnknownOptimization(String);

impl FromStr for Optimizations {
    type Err = UnknownOptimization;

    /// `all`, `none`, or names separated by commas; a name with `-` in front takes that one out of all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::empty()),
            _ => {}
        }
        let mut set = if text.starts_with('-') {
            Self::all()
        } else {
            Self::empty()
        };
        for word in text.split(',') {
            let name = word.strip_prefix('-').unwrap_or(word);
            let (_, flag) = Self::all()
                .iter_names()
                .find(|(known, _)| written(known) == name)
                .ok_or_else(|| UnknownOptimization(word.to_owned()))?;
            set.set(flag, name == word);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_by_name() {
        let parse = |text: &str| text.parse::<Optimizations>();
        assert_eq!(parse("all"), Ok(Optimizations::all()));
        assert_eq!(parse("none"), Ok(Optimizations::empty()));
        let names: Vec<String> = Optimizations::all().names().collect();
        assert_eq!(
            names.join(","),
            "channels-last,fused-norm,tables,class-token,flash,pair,stem,times,upsample,winograd,kept-memory"
        );
        assert_eq!(parse(&names.join(",")), Ok(Optimizations::all()));
        assert_eq!(parse("pair"), Ok(Optimizations::PAIR));
        assert_eq!(
            parse("-pair"),
            Ok(Optimizations::all() - Optimizations::PAIR)
        );
        let message = parse("pair,nothing").unwrap_err().to_string();
        assert!(
            message.contains("'nothing'") && message.contains("class-token"),
            "{message}"
        );
        assert!(parse("PAIR").is_err());
    }
}
