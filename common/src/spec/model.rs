//! `[model.*]`: networks and their training.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::SpecError;
use super::train::{TrainSection, TrainSpec};
use crate::network::{Arch, Heads, NORM_GROUPS, NetworkConfig};
use crate::role::Role;
use crate::store::location::Location;

/// The published set-up: the architecture is the same for both data sets, the training is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper (Table 2) and its public code, BraTS21.
    Paper,
    /// The same, trained as for ATLAS v2.0.
    PaperAtlas,
}

/// One network: a preset, values, or values over a preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec<Train = TrainSpec> {
    /// Start from published values.
    pub preset: Option<Preset>,
    /// Family; the name of the network decides it, and a file may repeat it.
    pub arch: Option<Arch>,
    /// Width of the first level.
    pub channels: Option<i64>,
    /// Width of each level as a multiple of `channels`.
    pub channel_mult: Option<Vec<i64>>,
    /// Residual blocks a level.
    pub res_blocks: Option<i64>,
    /// Feature-map sizes that get attention, e.g. `[32, 16, 8]`.
    pub attention: Option<Vec<i64>>,
    pub heads: Option<i64>,
    /// Channels of an attention head, instead of the number of heads.
    pub head_channels: Option<i64>,
    /// Time and label scale and shift after the second norm of a block (the default); false: they are added before it.
    pub scale_shift_norm: Option<bool>,
    /// Trained weights (safetensors, public tensor names), a path or an address in an object store: training is skipped.
    pub checkpoint: Option<Location>,
    pub train: Option<Train>,
}

/// Values of the presets; heads as the public code has them.
const PAPER_CHANNELS: i64 = 128;
const PAPER_MULT: [i64; 5] = [1, 1, 2, 3, 4];
const PAPER_RES_BLOCKS: i64 = 2;
const PAPER_ATTENTION: [i64; 3] = [32, 16, 8];
const PAPER_HEADS: i64 = 4;
/// The classifier's heads are told by their width.
const PAPER_HEAD_CHANNELS: i64 = 64;

/// Reads the `[model.NAME]` sections: a name that no method needs is an error, and what a `train`
/// section leaves out is the published value of the role.
pub(super) fn sections<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, ModelSpec>, D::Error> {
    let typed = BTreeMap::<Role, ModelSpec<TrainSection>>::deserialize(deserializer)?;
    Ok(typed
        .into_iter()
        .map(|(role, model)| (role.name().to_owned(), model.complete(role)))
        .collect())
}

impl ModelSpec<TrainSection> {
    fn complete(self, role: Role) -> ModelSpec {
        let published = TrainSpec::published(role, self.preset.unwrap_or(Preset::Paper));
        ModelSpec {
            preset: self.preset,
            arch: self.arch,
            channels: self.channels,
            channel_mult: self.channel_mult,
            res_blocks: self.res_blocks,
            attention: self.attention,
            heads: self.heads,
            head_channels: self.head_channels,
            scale_shift_norm: self.scale_shift_norm,
            checkpoint: self.checkpoint,
            train: self.train.map(|train| train.over(&published)),
        }
    }
}

impl ModelSpec {
    /// The architecture for slices of `image_size` pixels and `in_channels` modalities.
    ///
    /// # Errors
    /// Names the key that is missing or does not fit.
    pub fn network(
        &self,
        role: Role,
        image_size: i64,
        in_channels: i64,
    ) -> Result<NetworkConfig, SpecError> {
        let paper = self.preset.is_some();
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
        let outputs = role.output_channels(in_channels);
        let config = NetworkConfig {
            arch: role.arch(),
            image_size,
            in_channels,
            out_channels: (role == Role::Conditional).then_some(outputs),
            num_channels: self
                .channels
                .or(paper.then_some(PAPER_CHANNELS))
                .ok_or_else(|| missing("channels"))?,
            num_res_blocks: self.res_blocks.unwrap_or(PAPER_RES_BLOCKS),
            channel_mult,
            attention_downsample_rates: rates,
            heads: self.heads_of(role)?,
            num_classes: role.classes(),
            resblock_updown: role == Role::Classifier,
            use_scale_shift_norm: self.scale_shift_norm.unwrap_or(true),
        };
        config
            .validate()
            .map_err(|error| SpecError::new(error.to_string()))?;
        Ok(config)
    }

    fn heads_of(&self, role: Role) -> Result<Heads, SpecError> {
        match (self.heads, self.head_channels, role) {
            (Some(_), Some(_), _) => Err(SpecError::new(
                "heads and head_channels are both given: one of them decides",
            )),
            (Some(count), None, _) => Ok(Heads::Count(count)),
            (None, Some(width), _) => Ok(Heads::Width(width)),
            (None, None, Role::Classifier) => Ok(Heads::Width(PAPER_HEAD_CHANNELS)),
            (None, None, _) => Ok(Heads::Count(PAPER_HEADS)),
        }
    }

    pub(super) fn validate(&self, name: &str) -> Result<(), SpecError> {
        let context = |error: SpecError| SpecError::new(format!("[model.{name}]: {error}"));
        let role: Role = name
            .parse()
            .map_err(|error: String| context(SpecError::new(error)))?;
        if let Some(arch) = self.arch
            && arch != role.arch()
        {
            return Err(context(SpecError::new(format!(
                "arch is {arch}, but a network named {name} is of arch {}",
                role.arch()
            ))));
        }
        if let Some(channels) = self.channels
            && (channels < 1 || channels % NORM_GROUPS != 0)
        {
            return Err(context(SpecError::new(format!(
                "channels is {channels}: a multiple of {NORM_GROUPS} is needed (GroupNorm groups)"
            ))));
        }
        self.heads_of(role).map_err(context)?;
        if self.checkpoint.as_ref().is_some_and(Location::is_empty) {
            return Err(context(SpecError::new(
                "checkpoint is empty: name a file of weights, or leave the key out",
            )));
        }
        if self.checkpoint.is_none() && self.train.is_none() {
            return Err(context(SpecError::new(
                "neither checkpoint nor a train section: say where the weights are or how to train them",
            )));
        }
        if let Some(train) = &self.train {
            train
                .validate(role)
                .map_err(|error| SpecError::new(format!("[model.{name}.train]: {error}")))?;
        }
        Ok(())
    }
}
