//! `[model.*.train]`: how a network is trained, and what the paper's authors trained theirs with.

use serde::{Deserialize, Serialize};

use super::devices::Devices;
use super::model::Preset;
use super::{SpecError, is_default};
use crate::role::Role;

/// `[model.*.train]`, complete: what the file leaves out is the published value of the network's
/// role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
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
    pub devices: Devices,
    /// Seed of initial weights, sample order, t, noise and dropout.
    pub seed: u64,
    pub checkpoint_every: u64,
    /// What is done to training slices before they are learnt from; validation slices are never changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub augment: Augment,
    /// Arithmetic of forward and backward passes; weights are float32 in any case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: TrainPrecision,
    /// Samples that pass through the network at once, at most: a rank's share is cut into such
    /// pieces and their gradients are added up. `None` leaves it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u64>,
    /// Activation checkpointing: what residual and attention blocks compute is not kept for the backward pass but computed
    /// again there. Part of the key of the weights where it is set: gradients are the same but for rounding.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint_activations: bool,
    /// Steps between validations of the averaged weights; 0 is never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub validate_every: u64,
    /// Steps between sample pictures; 0 is never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sample_every: u64,
    /// Checkpoints kept beside the best: the last ones.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub keep: u32,
}

/// What is done to training slices before they are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augment {
    #[default]
    None,
    /// Left and right exchanged in every other sample, by chance; the label stays. For sets of few patients.
    Flip,
}

/// Arithmetic of training. Statistics of norms, softmax and loss are float32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum TrainPrecision {
    /// IEEE float32 throughout, as published.
    #[default]
    Fp32,
    /// float32 whose products may round their inputs to 10 bits of mantissa, on GPUs that can.
    Tf32,
    /// Products and convolutions in bfloat16.
    Bf16,
    /// Products and convolutions in float16, the loss scaled up so that gradients do not vanish.
    Fp16,
}

impl TrainPrecision {
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Tf32, Self::Bf16, Self::Fp16];

    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// Checkpoints kept where the spec does not say.
const KEPT: u32 = 2;

const fn two() -> u32 {
    KEPT
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
const fn is_two(keep: &u32) -> bool {
    *keep == KEPT
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
    augment: Option<Augment>,
    precision: Option<TrainPrecision>,
    micro_batch: Option<u64>,
    checkpoint_activations: Option<bool>,
    validate_every: Option<u64>,
    sample_every: Option<u64>,
    keep: Option<u32>,
}

impl TrainSection {
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
            augment: self.augment.unwrap_or(published.augment),
            precision: self.precision.unwrap_or(published.precision),
            micro_batch: self.micro_batch.or(published.micro_batch),
            checkpoint_activations: self
                .checkpoint_activations
                .unwrap_or(published.checkpoint_activations),
            validate_every: self.validate_every.unwrap_or(published.validate_every),
            sample_every: self.sample_every.unwrap_or(published.sample_every),
            keep: self.keep.unwrap_or(published.keep),
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
            augment: Augment::None,
            precision: TrainPrecision::Fp32,
            micro_batch: None,
            checkpoint_activations: false,
            validate_every: 0,
            sample_every: 0,
            keep: KEPT,
        }
    }

    pub(super) fn validate(&self, role: Role) -> Result<(), SpecError> {
        let fail = |message: String| Err(SpecError::new(message));
        for (key, value, limit) in [
            ("steps", self.steps, 1_000_000_000),
            ("batch", self.batch, 65_536),
            ("checkpoint_every", self.checkpoint_every, 1_000_000_000),
            ("micro_batch", self.micro_batch.unwrap_or(1), 65_536),
            ("keep", u64::from(self.keep), 1_000),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> TrainSpec {
        let section: TrainSection = toml::from_str(text).unwrap();
        section.over(&TrainSpec::published(Role::Guided, Preset::Paper))
    }

    #[test]
    fn what_is_left_out_changes_no_key_of_earlier_runs() {
        let plain = typed("");
        assert_eq!(plain, TrainSpec::published(Role::Guided, Preset::Paper));
        let written = serde_json::to_string(&plain).unwrap();
        for key in [
            "augment",
            "precision",
            "micro_batch",
            "checkpoint_activations",
            "validate_every",
            "sample_every",
            "keep",
        ] {
            assert!(!written.contains(key), "{written}");
        }
        assert_eq!(serde_json::from_str::<TrainSpec>(&written).unwrap(), plain);
    }

    #[test]
    fn what_is_typed_is_kept() {
        for precision in TrainPrecision::ALL {
            let train = typed(&format!(
                "precision = \"{precision}\"\nmicro_batch = 8\ncheckpoint_activations = true\nvalidate_every = 100\nsample_every = 50\nkeep = 3"
            ));
            assert_eq!(
                (train.precision, train.micro_batch, train.keep),
                (precision, Some(8), 3)
            );
            assert_eq!((train.validate_every, train.sample_every), (100, 50));
            assert!(train.checkpoint_activations);
            let written = serde_json::to_string(&train).unwrap();
            assert_eq!(serde_json::from_str::<TrainSpec>(&written).unwrap(), train);
            assert!(train.validate(Role::Guided).is_ok());
        }
        assert!(toml::from_str::<TrainSection>("precision = \"fp8\"").is_err());
        for (text, augment) in [("none", Augment::None), ("flip", Augment::Flip)] {
            let train = typed(&format!("augment = \"{text}\""));
            assert_eq!(train.augment, augment);
            let written = serde_json::to_string(&train).unwrap();
            assert_eq!(written.contains("augment"), augment == Augment::Flip);
            assert_eq!(serde_json::from_str::<TrainSpec>(&written).unwrap(), train);
        }
        let unknown = toml::from_str::<TrainSection>("augment = \"rotate\"").unwrap_err();
        let message = unknown.to_string();
        assert!(message.contains("`none` or `flip`"), "{message}");
        for (text, key) in [("micro_batch = 0", "micro_batch"), ("keep = 0", "keep")] {
            let message = typed(text).validate(Role::Guided).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
