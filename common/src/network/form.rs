//! How a network's configuration is spelled in a file.

use serde::{Deserialize, Serialize};

use super::{Arch, CLASSES, Heads, NetworkConfig, NetworkConfigError};

/// The fields of a file. What is absent is what the published configurations leave unsaid.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    /// Where absent: `classifier` where heads are told by their channels, else `v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arch: Option<Arch>,
    image_size: i64,
    in_channels: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out_channels: Option<i64>,
    num_channels: i64,
    num_res_blocks: i64,
    channel_mult: Vec<i64>,
    attention_downsample_rates: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_heads: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_head_channels: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_classes: Option<i64>,
    /// Where absent: true of a classifier, false of a U-Net.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resblock_updown: Option<bool>,
    /// Where absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    use_scale_shift_norm: Option<bool>,
}

impl TryFrom<Form> for NetworkConfig {
    type Error = NetworkConfigError;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        let heads = match (form.num_heads, form.num_head_channels) {
            (Some(count), None) => Heads::Count(count),
            (None, Some(width)) => Heads::Width(width),
            (None, None) => {
                return Err(NetworkConfigError(
                    "num_heads is missing (or num_head_channels): the weights cannot tell"
                        .to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(NetworkConfigError(
                    "num_heads and num_head_channels are both given: one of them decides"
                        .to_owned(),
                ));
            }
        };
        let arch = form.arch.unwrap_or(match heads {
            Heads::Width(_) => Arch::Classifier,
            Heads::Count(_) => Arch::V2,
        });
        Ok(Self {
            arch,
            image_size: form.image_size,
            in_channels: form.in_channels,
            out_channels: form.out_channels,
            num_channels: form.num_channels,
            num_res_blocks: form.num_res_blocks,
            channel_mult: form.channel_mult,
            attention_downsample_rates: form.attention_downsample_rates,
            heads,
            num_classes: match arch {
                Arch::V2 => form.num_classes.or(Some(CLASSES)),
                Arch::V1 | Arch::Classifier => form.num_classes,
            },
            resblock_updown: form.resblock_updown.unwrap_or(usual_updown(arch)),
            use_scale_shift_norm: form.use_scale_shift_norm.unwrap_or(true),
        })
    }
}

impl From<NetworkConfig> for Form {
    fn from(config: NetworkConfig) -> Self {
        let (num_heads, num_head_channels) = match config.heads {
            Heads::Count(count) => (Some(count), None),
            Heads::Width(width) => (None, Some(width)),
        };
        Self {
            arch: Some(config.arch),
            image_size: config.image_size,
            in_channels: config.in_channels,
            out_channels: config.out_channels,
            num_channels: config.num_channels,
            num_res_blocks: config.num_res_blocks,
            channel_mult: config.channel_mult,
            attention_downsample_rates: config.attention_downsample_rates,
            num_heads,
            num_head_channels,
            num_classes: config.num_classes,
            resblock_updown: (config.resblock_updown != usual_updown(config.arch))
                .then_some(config.resblock_updown),
            use_scale_shift_norm: (!config.use_scale_shift_norm).then_some(false),
        }
    }
}

fn usual_updown(arch: Arch) -> bool {
    arch == Arch::Classifier
}
