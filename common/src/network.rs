//! The architecture of a network: the `config.json` beside a checkpoint.

mod fit;
mod footprint;
mod form;
mod tensors;

use serde::{Deserialize, Serialize};

pub use fit::Misfit;
pub use footprint::Footprint;
pub use tensors::TensorShapes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Arch {
    /// The guided AnoFPDM U-Net with class tokens.
    V2,
    /// The U-Net of the guided-diffusion family: SiLUs in place, no class tokens.
    V1,
    /// Half of a v1 U-Net with an attention pool: image to class logits.
    Classifier,
}

impl Arch {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// How an attention block divides its channels among heads. Invisible in the weights, so always
/// explicit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heads {
    /// `num_heads`: this many heads, whatever the width.
    Count(i64),
    /// `num_head_channels`: heads of this many channels.
    Width(i64),
}

impl Heads {
    /// Heads of a block of `channels`; `None` where they do not divide it.
    pub const fn of(self, channels: i64) -> Option<i64> {
        match self {
            Self::Count(count) if count > 0 && channels % count == 0 => Some(count),
            Self::Width(width) if width > 0 && channels % width == 0 => Some(channels / width),
            _ => None,
        }
    }
}

impl std::fmt::Display for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "num_heads {count}"),
            Self::Width(width) => write!(f, "num_head_channels {width}"),
        }
    }
}

/// Groups of every GroupNorm; each channel width must be a multiple of it.
pub const NORM_GROUPS: i64 = 32;

/// Classes of the image-level label (0 healthy, 1 unhealthy).
pub const CLASSES: i64 = 2;

/// One network. Files spell it with the field names of the published configurations (see
/// `docs/formats.md`).
///
/// `attention_downsample_rates` are divisors of the image size: rate 4 at 128 pixels means
/// attention on 32 x 32 maps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "form::Form", into = "form::Form")]
pub struct NetworkConfig {
    pub arch: Arch,
    /// Side of the square input, pixels.
    pub image_size: i64,
    /// Modalities stacked as input channels.
    pub in_channels: i64,
    /// Output channels of a U-Net (as many as the input where the file does not say; twice as
    /// many with learned variance), or logits of a classifier (2 where the file does not say).
    pub out_channels: Option<i64>,
    /// Width of the first level.
    pub num_channels: i64,
    /// Residual blocks a level on the way down (one more on the way up).
    pub num_res_blocks: i64,
    /// Width of each level as a multiple of `num_channels`.
    pub channel_mult: Vec<i64>,
    /// Downsampling rates at which attention is applied.
    pub attention_downsample_rates: Vec<i64>,
    pub heads: Heads,
    /// Labels a U-Net is conditioned on: always some in v2; a v1 network without is unconditional.
    pub num_classes: Option<i64>,
    /// Residual blocks halve and double the maps, instead of strided and upsampling convolutions:
    /// usual in classifiers, unusual in U-Nets.
    pub resblock_updown: bool,
    /// Time and label scale and shift what the second norm of a residual block makes, as in all published networks of
    /// this family but those of diffusion-anomaly; there they are added before it. Spelled out only where false.
    pub use_scale_shift_norm: bool,
}

/// An architecture that cannot be built, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkConfigError(String);

impl NetworkConfig {
    /// Output channels or logits, explicit or implied.
    pub fn output_channels(&self) -> i64 {
        self.out_channels.unwrap_or(match self.arch {
            Arch::V2 | Arch::V1 => self.in_channels,
            Arch::Classifier => CLASSES,
        })
    }

    /// Whether the network also predicts the variance of the reverse step (2C outputs).
    pub fn learned_variance(&self) -> bool {
        self.arch == Arch::V1 && self.output_channels() == 2 * self.in_channels
    }

    /// Width of the time and class embeddings, `4 num_channels`.
    pub fn embedding_width(&self) -> i64 {
        4 * self.num_channels
    }

    /// Channels of each level, first to last.
    pub fn level_channels(&self) -> Vec<i64> {
        self.channel_mult
            .iter()
            .map(|mult| mult * self.num_channels)
            .collect()
    }

    /// Whether the blocks of a level (from 0) have attention.
    pub fn attends(&self, level: usize) -> bool {
        self.attention_downsample_rates.contains(&(1_i64 << level))
    }

    /// Channels of each attention, by level; the middle, of the last level's width, always attends.
    pub fn attended_widths(&self) -> Vec<i64> {
        let widths = self.level_channels();
        let last = widths.len().saturating_sub(1);
        let attended = widths.into_iter().enumerate();
        attended
            .filter(|(level, _)| *level == last || self.attends(*level))
            .map(|(_, width)| width)
            .collect()
    }

    /// Refuses what cannot be built: widths off the group count, a size that does not halve,
    /// heads that do not divide a width.
    ///
    /// # Errors
    /// Names the field and the value.
    pub fn validate(&self) -> Result<(), NetworkConfigError> {
        self.check_numbers()?;
        self.check_levels()?;
        self.check_outputs()
    }

    fn check_numbers(&self) -> Result<(), NetworkConfigError> {
        let (heads, head_limit) = match self.heads {
            Heads::Count(count) => (("num_heads", count), 4096),
            Heads::Width(width) => (("num_head_channels", width), 65_536),
        };
        let bounded = [
            ("image_size", self.image_size, 1024),
            ("in_channels", self.in_channels, 64),
            ("out_channels", self.output_channels(), 1024),
            ("num_channels", self.num_channels, 1024),
            ("num_res_blocks", self.num_res_blocks, 16),
            (heads.0, heads.1, head_limit),
            ("num_classes", self.num_classes.unwrap_or(CLASSES), 1024),
        ];
        for (name, value, limit) in bounded {
            if value < 1 {
                return fail(format!("{name} is {value}: it must be at least 1"));
            }
            if value > limit {
                return fail(format!("{name} is {value}: at most {limit} is supported"));
            }
        }
        if self.num_channels % NORM_GROUPS != 0 {
            return fail(format!(
                "num_channels is {}: every width must be a multiple of {NORM_GROUPS} (GroupNorm groups)",
                self.num_channels
            ));
        }
        Ok(())
    }

    fn check_levels(&self) -> Result<(), NetworkConfigError> {
        if self.channel_mult.is_empty() || self.channel_mult.len() > 8 {
            return fail(format!(
                "channel_mult has {} levels: 1 to 8 are supported",
                self.channel_mult.len()
            ));
        }
        if let Some(mult) = self
            .channel_mult
            .iter()
            .find(|mult| !(1..=64).contains(*mult))
        {
            return fail(format!("channel_mult holds {mult}: 1 to 64 is supported"));
        }
        let halvings = 1_i64 << (self.channel_mult.len() - 1);
        if self.image_size % halvings != 0 {
            return fail(format!(
                "image_size {} cannot be halved {} times (channel_mult has {} levels)",
                self.image_size,
                self.channel_mult.len() - 1,
                self.channel_mult.len()
            ));
        }
        for width in self.attended_widths() {
            if self.heads.of(width).is_none() {
                return fail(format!("{} does not divide the width {width}", self.heads));
            }
        }
        Ok(())
    }

    fn check_outputs(&self) -> Result<(), NetworkConfigError> {
        match (self.arch, self.num_classes) {
            (Arch::V2, None) => fail("arch v2 needs num_classes".to_owned()),
            (Arch::Classifier, Some(classes)) => fail(format!(
                "num_classes is {classes}: a classifier takes no labels, its logits are out_channels"
            )),
            _ => Ok(()),
        }
    }
}

fn fail(message: String) -> Result<(), NetworkConfigError> {
    Err(NetworkConfigError(message))
}

#[cfg(test)]
mod tests;
