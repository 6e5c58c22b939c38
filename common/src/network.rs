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

/// What a network takes, counted from its architecture alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Weights.
    pub parameters: i64,
    /// Values of one slice kept at once in a forward pass, roughly: all skips, and the widest step of the decoder
    /// with its intermediate results.
    pub activations: i64,
}

/// Results that a residual block holds at once beside its input: normed, convolved, shifted, output.
const BLOCK_RESULTS: i64 = 4;

impl NetworkConfig {
    /// Counts weights and activations, layer by layer as SCIENCE 1 lists them.
    pub fn footprint(&self) -> Footprint {
        let mut count = Counter {
            embedding: self.embedding_width(),
            parameters: 0,
            widest: 0,
        };
        let base = self.num_channels;
        count.linear(base, count.embedding);
        count.linear(count.embedding, count.embedding);
        count.parameters += self.num_classes * base;
        count.linear(base, count.embedding);
        count.linear(count.embedding, count.embedding);

        let levels = self.level_channels();
        let attends = |level: usize| self.attention_downsample_rates.contains(&(1 << level));
        let side = |level: usize| self.image_size >> level;
        count.conv3(self.in_channels, base);
        let mut skips = vec![(base, side(0))];
        let mut width = base;
        for (level, &channels) in levels.iter().enumerate() {
            for _ in 0..self.num_res_blocks {
                count.block(width, channels, side(level));
                width = channels;
                if attends(level) {
                    count.attention(width, side(level), self.num_heads);
                }
                skips.push((width, side(level)));
            }
            if level + 1 < levels.len() {
                count.conv3(width, width);
                skips.push((width, side(level + 1)));
            }
        }
        let kept: i64 = skips.iter().map(|(c, side)| c * side * side).sum();
        let deepest = levels.len() - 1;
        count.block(width, width, side(deepest));
        count.attention(width, side(deepest), self.num_heads);
        count.block(width, width, side(deepest));
        for (level, &channels) in levels.iter().enumerate().rev() {
            for _ in 0..=self.num_res_blocks {
                let (skip, _) = skips.pop().unwrap_or((0, 0));
                count.block(width + skip, channels, side(level));
                width = channels;
                if attends(level) {
                    count.attention(width, side(level), self.num_heads);
                }
            }
            if level > 0 {
                count.conv3(width, width);
            }
        }
        count.norm(width);
        count.conv3(width, self.output_channels());
        Footprint {
            parameters: count.parameters,
            activations: kept + count.widest,
        }
    }
}

struct Counter {
    embedding: i64,
    parameters: i64,
    /// Values of the widest layer.
    widest: i64,
}

impl Counter {
    const fn linear(&mut self, from: i64, to: i64) {
        self.parameters += from * to + to;
    }

    const fn conv3(&mut self, from: i64, to: i64) {
        self.parameters += 9 * from * to + to;
    }

    const fn norm(&mut self, channels: i64) {
        self.parameters += 2 * channels;
    }

    fn block(&mut self, from: i64, to: i64, side: i64) {
        self.norm(from);
        self.conv3(from, to);
        self.linear(self.embedding, 2 * to);
        self.norm(to);
        self.conv3(to, to);
        if from != to {
            self.linear(from, to);
        }
        self.widest = self.widest.max(BLOCK_RESULTS * from.max(to) * side * side);
    }

    fn attention(&mut self, channels: i64, side: i64, heads: i64) {
        self.norm(channels);
        self.linear(channels, 3 * channels);
        self.linear(self.embedding, 2 * channels);
        self.linear(channels, channels);
        // Weights of the softmax, twice: before and after it.
        let tokens = side * side;
        let weights = 2 * heads * tokens * (tokens + self.embedding);
        self.widest = self.widest.max(weights + 5 * channels * tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper(in_channels: i64) -> NetworkConfig {
        NetworkConfig {
            arch: Arch::V2,
            image_size: 128,
            in_channels,
            out_channels: None,
            num_channels: 128,
            num_res_blocks: 2,
            channel_mult: vec![1, 1, 2, 3, 4],
            attention_downsample_rates: vec![4, 8, 16],
            num_heads: 4,
            num_classes: 2,
        }
    }

    #[test]
    fn the_paper_networks_have_their_published_number_of_weights() {
        assert_eq!(paper(4).footprint().parameters, 103_082_500);
        assert_eq!(paper(1).footprint().parameters, 103_075_585);
    }

    #[test]
    fn what_cannot_be_built_is_refused_by_name() {
        for (change, part) in [
            (
                NetworkConfig {
                    num_channels: 100,
                    ..paper(4)
                },
                "num_channels",
            ),
            (
                NetworkConfig {
                    image_size: 72,
                    ..paper(4)
                },
                "image_size",
            ),
            (
                NetworkConfig {
                    num_heads: 5,
                    ..paper(4)
                },
                "num_heads",
            ),
            (
                NetworkConfig {
                    in_channels: 0,
                    ..paper(4)
                },
                "in_channels",
            ),
        ] {
            let message = change.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
