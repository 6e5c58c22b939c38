//! The architecture of a network: the `config.json` beside a checkpoint.

use serde::{Deserialize, Serialize};

/// The family a network belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// The guided AnoFPDM U-Net with class tokens (SCIENCE 1).
    V2,
}

/// Groups of every GroupNorm; each channel width must be a multiple of it.
pub const NORM_GROUPS: i64 = 32;

/// One network, with the field names of the published configurations.
///
/// `attention_downsample_rates` are divisors of the image size: rate 4 at 128 pixels means
/// attention on 32 x 32 maps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Which family; `v2` where the file does not say.
    #[serde(default = "default_arch")]
    pub arch: Arch,
    /// Side of the square input, pixels.
    pub image_size: i64,
    /// Modalities stacked as input channels.
    pub in_channels: i64,
    /// Output channels; as many as the input where the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_channels: Option<i64>,
    /// Width of the first level.
    pub num_channels: i64,
    /// Residual blocks a level on the way down (one more on the way up).
    pub num_res_blocks: i64,
    /// Width of each level as a multiple of `num_channels`.
    pub channel_mult: Vec<i64>,
    /// Downsampling rates at which attention is applied.
    pub attention_downsample_rates: Vec<i64>,
    /// Attention heads. Invisible in the weights, so always explicit.
    pub num_heads: i64,
    /// Number of class labels (0 healthy, 1 unhealthy).
    #[serde(default = "default_classes")]
    pub num_classes: i64,
}

fn default_arch() -> Arch {
    Arch::V2
}

fn default_classes() -> i64 {
    2
}

/// An architecture that cannot be built, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkConfigError(String);

impl NetworkConfig {
    /// Output channels, explicit or implied.
    pub fn output_channels(&self) -> i64 {
        self.out_channels.unwrap_or(self.in_channels)
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

    /// Refuses what cannot be built: widths off the group count, a size that does not halve,
    /// heads that do not divide a width.
    ///
    /// # Errors
    /// Names the field and the value.
    pub fn validate(&self) -> Result<(), NetworkConfigError> {
        let fail = |message: String| Err(NetworkConfigError(message));
        let positive = [
            ("image_size", self.image_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.output_channels()),
            ("num_channels", self.num_channels),
            ("num_res_blocks", self.num_res_blocks),
            ("num_heads", self.num_heads),
            ("num_classes", self.num_classes),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| *value < 1) {
            return fail(format!("{name} is {value}: it must be at least 1"));
        }
        let bounded = [
            ("image_size", self.image_size, 1024),
            ("in_channels", self.in_channels, 64),
            ("out_channels", self.output_channels(), 128),
            ("num_channels", self.num_channels, 1024),
            ("num_res_blocks", self.num_res_blocks, 16),
            ("num_classes", self.num_classes, 1024),
        ];
        if let Some((name, value, limit)) = bounded.iter().find(|(_, value, limit)| value > limit) {
            return fail(format!("{name} is {value}: at most {limit} is supported"));
        }
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
        if self.num_channels % NORM_GROUPS != 0 {
            return fail(format!(
                "num_channels is {}: every width must be a multiple of {NORM_GROUPS} (GroupNorm groups)",
                self.num_channels
            ));
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
        if let Some(width) = self
            .level_channels()
            .into_iter()
            .find(|width| width % self.num_heads != 0)
        {
            return fail(format!(
                "num_heads {} does not divide the width {width}",
                self.num_heads
            ));
        }
        Ok(())
    }
}
