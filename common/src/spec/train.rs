//! `[model.*.train]`: how a network is trained, and what the paper's authors trained theirs with.

use serde::{Deserialize, Serialize};

use super::SpecError;
use super::devices::Devices;
use super::model::Preset;
use crate::role::Role;

/// `[model.*.train]`, complete: what the file leaves out is the published value of the network's
/// role (SCIENCE 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Optimiser steps.
    pub steps: u64,
    /// Global batch, whatever the number of devices.
    pub batch: u64,
    /// AdamW learning rate, constant.
    pub learning_rate: f64,
    /// Decay of the exponential moving average of the weights; 0 keeps the weights themselves.
    pub ema: f64,
    /// Probability of dropping a sample's label to null; only a `guided` network has a null label.
    pub null_label: f64,
    /// Dropout before the second convolution of a residual block.
    pub dropout: f64,
    /// Data-parallel world size.
    pub devices: Devices,
    /// Seed of initial weights, sample order, t, noise and dropout.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// `[model.*.train]` as it is typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainSection {
    steps: Option<u64>,
    batch: Option<u64>,
    learning_rate: Option<f64>,
    ema: Option<f64>,
    null_label: Option<f64>,
    dropout: Option<f64>,
    devices: Option<Devices>,
    seed: Option<u64>,
    checkpoint_every: Option<u64>,
}

impl TrainSection {
    /// What was typed over the published values.
    pub(super) fn over(self, published: &TrainSpec) -> TrainSpec {
        TrainSpec {
            steps: self.steps.unwrap_or(published.steps),
            batch: self.batch.unwrap_or(published.batch),
            learning_rate: self.learning_rate.unwrap_or(published.learning_rate),
            ema: self.ema.unwrap_or(published.ema),
            null_label: self.null_label.unwrap_or(published.null_label),
            dropout: self.dropout.unwrap_or(published.dropout),
            devices: self.devices.unwrap_or(published.devices),
            seed: self.seed.unwrap_or(published.seed),
            checkpoint_every: self.checkpoint_every.unwrap_or(published.checkpoint_every),
        }
    }
}

impl TrainSpec {
    /// How the checkpoint of the paper's tables was trained, for the data set of `preset`.
    ///
    /// The lengths are the steps of the checkpoints that the public scripts load. The classifier
    /// there has no moving average, and neither it nor the v1 networks have dropout.
    pub const fn published(role: Role, preset: Preset) -> Self {
        let (brats, atlas) = match role {
            Role::Guided => (210_000, 290_000),
            Role::HealthyGaussian => (250_000, 226_100),
            Role::HealthySimplex => (350_000, 156_100),
            Role::Conditional => (500_000, 145_000),
            Role::Classifier => (150_000, 40_000),
        };
        let (steps, batch) = match (role, preset) {
            (Role::Conditional, Preset::Paper) => (brats, 32),
            (_, Preset::Paper) => (brats, 64),
            (_, Preset::PaperAtlas) => (atlas, 64),
        };
        let guided = matches!(role, Role::Guided);
        let classifier = matches!(role, Role::Classifier);
        Self {
            steps,
            batch,
            learning_rate: if classifier { 3e-4 } else { 1e-4 },
            ema: if classifier { 0.0 } else { 0.9999 },
            null_label: if guided { 0.1 } else { 0.0 },
            dropout: if guided { 0.1 } else { 0.0 },
            devices: Devices::exactly(1),
            seed: 0,
            checkpoint_every: 5_000,
        }
    }

    pub(super) fn validate(&self, role: Role) -> Result<(), SpecError> {
        let fail = |message: String| Err(SpecError::new(message));
        for (key, value, limit) in [
            ("steps", self.steps, 1_000_000_000),
            ("batch", self.batch, 65_536),
            ("checkpoint_every", self.checkpoint_every, 1_000_000_000),
        ] {
            if value == 0 || value > limit {
                return fail(format!("{key} is {value}: 1 to {limit} is supported"));
            }
        }
        self.devices.validate(self.batch)?;
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
        if self.null_label > 0.0 && role != Role::Guided {
            return fail(format!(
                "null_label is {}: only a guided network is trained without its label at times",
                self.null_label
            ));
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
