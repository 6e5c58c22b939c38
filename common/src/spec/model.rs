//! `[model.*]`: networks and their training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::network::{Arch, NetworkConfig};

/// A published set of architecture values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The network of the paper and its public code (SCIENCE 1).
    Paper,
}

/// One network: a preset, values, or values over a preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Start from published values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Family; `v2` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Width of the first level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<i64>,
    /// Width of each level as a multiple of `channels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_mult: Option<Vec<i64>>,
    /// Residual blocks a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub res_blocks: Option<i64>,
    /// Feature-map sizes that get attention, e.g. `[32, 16, 8]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<i64>>,
    /// Attention heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<i64>,
    /// Trained weights (safetensors, public tensor names): training is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// How it is trained where there is no checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainSpec>,
}

/// `[model.*.train]`. Defaults are the paper's (SCIENCE 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Optimiser steps.
    #[serde(default = "default_steps")]
    pub steps: u64,
    /// Global batch, whatever the number of devices.
    #[serde(default = "default_batch")]
    pub batch: u64,
    /// AdamW learning rate, constant.
    #[serde(default = "default_learning_rate")]
    pub learning_rate: f64,
    /// Decay of the exponential moving average of the weights.
    #[serde(default = "default_ema")]
    pub ema: f64,
    /// Probability of dropping a sample's label to null.
    #[serde(default = "default_null_label")]
    pub null_label: f64,
    /// Dropout before the second convolution of a residual block.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Data-parallel world size.
    #[serde(default = "default_devices")]
    pub devices: u32,
    /// Seed of initial weights, sample order, t, noise and dropout.
    #[serde(default)]
    pub seed: u64,
    /// Steps between checkpoints.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: u64,
}

fn default_steps() -> u64 {
    210_000
}
fn default_batch() -> u64 {
    64
}
fn default_learning_rate() -> f64 {
    1e-4
}
fn default_ema() -> f64 {
    0.9999
}
fn default_null_label() -> f64 {
    0.1
}
fn default_dropout() -> f64 {
    0.1
}
fn default_devices() -> u32 {
    1
}
fn default_checkpoint_every() -> u64 {
    5_000
}

/// Values of [`Preset::Paper`]; heads as the public code has them (SCIENCE 10, row 1).
const PAPER_CHANNELS: i64 = 128;
const PAPER_MULT: [i64; 5] = [1, 1, 2, 3, 4];
const PAPER_RES_BLOCKS: i64 = 2;
const PAPER_ATTENTION: [i64; 3] = [32, 16, 8];
const PAPER_HEADS: i64 = 4;

impl ModelSpec {
    /// The architecture for slices of `image_size` pixels and `in_channels` modalities.
    ///
    /// # Errors
    /// Names the key that is missing or does not fit.
    pub fn network(&self, image_size: i64, in_channels: i64) -> Result<NetworkConfig, SpecError> {
        let paper = self.preset == Some(Preset::Paper);
        let missing = |key: &str| {
            SpecError::new(format!(
                "{key} is missing: give it, or start from preset = \"paper\""
            ))
        };
        let attention = match (&self.attention, paper) {
            (Some(sizes), _) => sizes.clone(),
            (None, true) => PAPER_ATTENTION.to_vec(),
            (None, false) => return Err(missing("attention")),
        };
        let channel_mult = match (&self.channel_mult, paper) {
            (Some(mult), _) => mult.clone(),
            (None, true) => PAPER_MULT.to_vec(),
            (None, false) => return Err(missing("channel_mult")),
        };
        let rates = attention
            .iter()
            .map(|size| {
                let reached = (0..channel_mult.len())
                    .map(|level| image_size >> level)
                    .collect::<Vec<_>>();
                if reached.contains(size) {
                    Ok(image_size / size)
                } else {
                    Err(SpecError::new(format!(
                        "attention names a feature-map size of {size}, but a {image_size}-pixel input with {} levels has {reached:?}",
                        channel_mult.len()
                    )))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let config = NetworkConfig {
            arch: self.arch.unwrap_or(Arch::V2),
            image_size,
            in_channels,
            out_channels: None,
            num_channels: self
                .channels
                .or(paper.then_some(PAPER_CHANNELS))
                .ok_or_else(|| missing("channels"))?,
            num_res_blocks: self.res_blocks.unwrap_or(PAPER_RES_BLOCKS),
            channel_mult,
            attention_downsample_rates: rates,
            num_heads: self.heads.unwrap_or(PAPER_HEADS),
            num_classes: 2,
        };
        config
            .validate()
            .map_err(|error| SpecError::new(error.to_string()))?;
        Ok(config)
    }

    pub(super) fn validate(&self, name: &str) -> Result<(), SpecError> {
        let context = |error: SpecError| SpecError::new(format!("[model.{name}]: {error}"));
        if let Some(channels) = self.channels
            && (channels < 1 || channels % crate::network::NORM_GROUPS != 0)
        {
            return Err(context(SpecError::new(format!(
                "channels is {channels}: a multiple of {} is needed (GroupNorm groups)",
                crate::network::NORM_GROUPS
            ))));
        }
        if self.checkpoint.is_none() && self.train.is_none() {
            return Err(context(SpecError::new(
                "neither checkpoint nor a train section: say where the weights are or how to train them",
            )));
        }
        if let Some(train) = &self.train {
            train
                .validate()
                .map_err(|error| SpecError::new(format!("[model.{name}.train]: {error}")))?;
        }
        Ok(())
    }
}

impl TrainSpec {
    fn validate(&self) -> Result<(), SpecError> {
        let fail = |message: String| Err(SpecError::new(message));
        for (key, value, limit) in [
            ("steps", self.steps, 1_000_000_000),
            ("batch", self.batch, 65_536),
            ("checkpoint_every", self.checkpoint_every, 1_000_000_000),
            ("devices", u64::from(self.devices), 4_096),
        ] {
            if value == 0 || value > limit {
                return fail(format!("{key} is {value}: 1 to {limit} is supported"));
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return fail(format!(
                "learning_rate is {}: a positive number is needed",
                self.learning_rate
            ));
        }
        for (key, value) in [
            ("ema", self.ema),
            ("null_label", self.null_label),
            ("dropout", self.dropout),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fail(format!("{key} is {value}: it must lie in [0, 1)"));
            }
        }
        Ok(())
    }

    /// A warning when the average has not forgotten its start: fewer than `3 / (1 - ema)` steps.
    pub fn ema_warning(&self) -> Option<String> {
        let memory = 3.0 / (1.0 - self.ema);
        #[allow(clippy::cast_precision_loss)]
        let short = (self.steps as f64) < memory;
        short.then(|| {
            format!(
                "{} steps are fewer than 3 / (1 - ema) = {memory:.0}: the averaged weights still remember their random start; use a smaller ema or more steps",
                self.steps
            )
        })
    }
}
