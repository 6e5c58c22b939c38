//! The run spec: one TOML file describes a benchmark.
//!
//! [`RunSpec::parse`] reads and checks it; what it returns is complete (every default filled in) and
//! is what a run folder keeps as `spec.toml`.

mod baseline;
mod data;
mod devices;
mod model;
mod report;
mod respacing;
mod score;
mod suggest;
mod train;

pub use baseline::{BaselineSpec, Grid, GridSpec, default_thresholds, published_thresholds};
pub use data::{DataSpec, MAX_SCORED};
pub use devices::{Bounds, Devices};
pub use model::{ModelSpec, Preset};
pub use report::ReportSpec;
pub use respacing::{DIFFUSION_STEPS, Respacing};
pub use score::{
    ComputeSpec, Decision, FigureSpec, Guidance, MAX_BATCH_SLICES, MAX_END_STEP_RATIOS,
    MAX_FIXED_THRESHOLDS, Precision, ScoreDetail, ScoreSpec, UnknownPrecision,
};
pub use train::{Augment, TrainPrecision, TrainSpec};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::method::Method;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Name of the run: its folder under `runs/`.
    pub name: String,
    pub data: DataSpec,
    /// Networks by the name of their role; a method says which it needs.
    #[serde(default, deserialize_with = "model::sections")]
    pub model: BTreeMap<String, ModelSpec>,
    pub score: ScoreSpec,
    #[serde(default)]
    pub compute: ComputeSpec,
    #[serde(default, skip_serializing_if = "is_default")]
    pub report: ReportSpec,
}

/// A spec that cannot be used: where, why, and what to write instead.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl SpecError {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What is as by default is not written, so that a new key leaves the digests of older specs as they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Longest spec file accepted, bytes.
pub const MAX_SPEC_BYTES: usize = 1 << 20;

impl RunSpec {
    /// Reads and checks a spec.
    ///
    /// # Errors
    /// Names the key, the line and the nearest known key.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.len() > MAX_SPEC_BYTES {
            return Err(SpecError::new(format!(
                "the spec has {} bytes; at most {MAX_SPEC_BYTES} are read",
                text.len()
            )));
        }
        let spec: Self = toml::from_str(text).map_err(|error| suggest::explain(&error, text))?;
        spec.validate()?;
        Ok(spec)
    }

    /// The normalised TOML text.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string_pretty(self)
            .map_err(|error| SpecError::new(format!("cannot write the spec: {error}")))
    }

    /// Identifies the benchmark: the digest of the normalised text.
    pub fn digest(&self) -> Result<Digest, SpecError> {
        Ok(Digest::of(self.to_toml()?.as_bytes()))
    }

    /// The networks the methods of this spec need, with their names.
    ///
    /// # Errors
    /// Names the network that no `[model.*]` section describes.
    pub fn needed_networks(&self) -> Result<BTreeMap<&str, &ModelSpec>, SpecError> {
        let mut needed = BTreeMap::new();
        for method in &self.score.methods {
            for role in method.networks() {
                let name = role.name();
                let model = self.model.get(name).ok_or_else(|| {
                    SpecError::new(format!(
                        "method {method} needs a network named '{name}': add a [model.{name}] section (preset = \"paper\" will do)"
                    ))
                })?;
                needed.insert(name, model);
            }
        }
        Ok(needed)
    }

    fn validate(&self) -> Result<(), SpecError> {
        let usable = !self.name.is_empty()
            && self.name.len() <= 100
            && !self.name.starts_with('.')
            && self
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !usable {
            return Err(SpecError::new(format!(
                "name = \"{}\": letters, digits, '-', '_' and '.' only (it names the run folder)",
                self.name
            )));
        }
        self.data.validate()?;
        for (name, model) in &self.model {
            model.validate(name)?;
        }
        self.score.validate()?;
        self.compute.validate()?;
        self.report.validate()?;
        self.needed_networks()?;
        self.check_schedules()
    }

    /// Networks are trained here on the full schedule; those of another schedule come from elsewhere, and serve no
    /// method of this one.
    fn check_schedules(&self) -> Result<(), SpecError> {
        let score = &self.score;
        let steps_of = |baseline| {
            let grid = score.baseline.grid(baseline, score.respacing);
            grid.diffusion_steps
        };
        for method in &score.methods {
            let Some(baseline) = method
                .baseline()
                .filter(|b| steps_of(*b) != DIFFUSION_STEPS)
            else {
                continue;
            };
            let steps = steps_of(baseline);
            let shares = |other: &&Method| {
                let roles = other.networks().iter();
                *other != method && roles.clone().any(|role| baseline.networks().contains(role))
            };
            if let Some(other) = score.methods.iter().find(shares) {
                return Err(SpecError::new(format!(
                    "{method} has diffusion_steps = {steps} and would share a network with {other}, which needs one of \
                     {DIFFUSION_STEPS}: score them in two runs"
                )));
            }
            for role in baseline.networks() {
                let model = self.model.get(role.name());
                if model.is_some_and(|model| model.checkpoint.is_none()) {
                    return Err(SpecError::new(format!(
                        "{method} has diffusion_steps = {steps}: [model.{role}] needs a checkpoint that was trained so \
                         (networks are trained here on {DIFFUSION_STEPS} steps)"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anofpdm::{MaskRule, QuantileOf};
    use crate::network::Heads;
    use crate::role::Role;
    use crate::semantics::Semantics;

    const SMALL: &str = r#"
        name = "small"
        [data]
        store = "stores/small"
        [model.guided]
        channels = 32
        channel_mult = [1, 2]
        attention = [16]
        [model.guided.train]
        steps = 10
        [score]
        steps = 20
        respacing = 50
        methods = ["anofpdm-ddim"]
        guidance = [2]
    "#;

    #[test]
    fn defaults_are_filled_in_and_survive_a_round_trip() {
        let spec = RunSpec::parse(SMALL).unwrap();
        assert_eq!(spec.score.semantics, Semantics::PaperClipped);
        assert_eq!(spec.score.methods, [Method::AnofpdmDdim]);
        assert_eq!(spec.compute.batch_slices, 33);
        let again = RunSpec::parse(&spec.to_toml().unwrap()).unwrap();
        assert_eq!(again, spec);
        assert_eq!(again.digest().unwrap(), spec.digest().unwrap());
    }

    fn error_of(from: &str, to: &str) -> String {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL, "the replacement must apply");
        RunSpec::parse(&text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let message = error_of("respacing = 50", "respacign = 50");
        assert!(message.contains("respacign"), "{message}");
        assert!(message.contains("did you mean `respacing`"), "{message}");
    }

    #[test]
    fn a_longer_schedule_needs_networks_of_its_own() {
        let spec = |methods: &str, weights: &str| {
            let model = |name| format!("[model.{name}]\npreset = \"paper\"\n{weights}\n");
            let text = format!(
                "name = \"x\"\n[data]\nstore = \"s\"\n{}{}[score]\nmethods = [{methods}]\n\
                 [score.baseline.cg-cdm]\ndiffusion_steps = 4000",
                model("conditional"),
                model("classifier")
            );
            RunSpec::parse(&text).map_err(|error| error.to_string())
        };
        let given = "checkpoint = \"w\"";
        spec("\"cg-cdm\"", given).unwrap();
        let error = spec("\"cg-cdm\"", "train = {}").unwrap_err();
        assert!(error.contains("needs a checkpoint"), "{error}");
        let error = spec("\"cg-cdm\", \"ddim-classifier\"", given).unwrap_err();
        assert!(error.contains("two runs"), "{error}");
        // Where the method is not asked for, its settings do not matter.
        spec("\"ddim-classifier\"", given).unwrap();
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (from, to, part) in [
            ("guidance = [2]", "guidance = [-1]", "guidance"),
            ("guidance = [2]", "guidance = []", "guidance"),
            (
                "guidance = [2]",
                "guidance = [2, 2]",
                "score.guidance names 2 twice",
            ),
            (
                "guidance = [2]",
                "guidance = { select = [2, 2.0000000001] }",
                "score.guidance names 2 and 2.0000000001, which are one number to a reader",
            ),
            (
                "methods = [\"anofpdm-ddim\"]",
                "methods = [\"anofpdm-ddim\", \"anofpdm-ddim\"]",
                "score.methods names anofpdm-ddim twice",
            ),
            (
                "guidance = [2]",
                "guidance = { select = [2], seed = 1 }",
                "write guidance = [2], or guidance = { select = [0.5, 1, 2] }",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\nmedian = 4",
                "score.median: a median filter of 4 x 4 pixels: 1 (no filter), 3, 5 .. 15 are supported",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\nmedian = 0",
                "score.median: ",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\nmediam = 3",
                "did you mean `median`?",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\nquantile-of = \"map\"",
                "did you mean `quantile_of`?",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\nquantile_of = \"filter\"",
                "did you mean `filtered`?",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\ndescision = \"cosine\"",
                "did you mean `decision`?",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\ndecision = \"mse_ratio\"",
                "did you mean `mse-ratio`?",
            ),
            (
                "guidance = [2]",
                "guidance = [2]\ncomponent_area = -1",
                "component_area",
            ),
            ("steps = 20", "steps = 51", "50"),
            ("steps = 20", "steps = 0", "steps"),
            ("anofpdm-ddim", "anofpdm-dim", "anofpdm-ddim"),
            ("model.guided]", "model.guide]", "[model.guide]"),
            ("model.guided]", "model.guide]", "did you mean `guided`"),
            ("channels = 32", "channels = 32\narch = \"v1\"", "arch v2"),
            (
                "channels = 32",
                "channels = 32\nheads = 4\nhead_channels = 8",
                "both",
            ),
            ("channels = 32", "chanels = 32", "did you mean `channels`"),
            ("steps = 10", "step = 10", "did you mean `steps`"),
            ("channels = 32", "channels = 33", "multiple of 32"),
            ("name = \"small\"", "name = \"a/b\"", "name"),
        ] {
            let message = error_of(from, to);
            assert!(message.contains(part), "{to}: {message}");
        }
    }

    /// The place in the file, as other TOML errors have it, and what to write.
    #[test]
    fn a_single_value_for_a_list_is_answered_with_the_list() {
        let at = |line: &str, column: usize, width: usize| {
            let caret = " ".repeat(column) + &"^".repeat(width);
            format!("{line}\n   | {caret}")
        };
        let message = error_of("guidance = [2]", "guidance = 2");
        assert!(
            message.contains(&at("        guidance = 2", 19, 1)),
            "{message}"
        );
        assert!(
            message.ends_with(
                "strengths are a list or a selection: write guidance = [2], or guidance = { select = [0.5, 1, 2] }"
            ),
            "{message}"
        );
        let message = error_of("guidance = [2]", "guidance = [2]\n        seeds = 3");
        assert!(
            message.contains(&at("        seeds = 3", 16, 1)),
            "{message}"
        );
        assert!(
            message.ends_with(
                "it is a list: write seeds = [3] for that one seed, or seeds = [0, 1, 2] for three"
            ),
            "{message}"
        );
        let message = error_of("[\"anofpdm-ddim\"]", "\"anofpdm-ddim\"");
        let hint = "it is a list: write methods = [\"anofpdm-ddim\"]";
        assert!(message.ends_with(hint), "{message}");
        let message = error_of("channel_mult = [1, 2]", "channel_mult = 2");
        assert!(message.ends_with("write channel_mult = [2]"), "{message}");
        let message = error_of(
            "guidance = [2]",
            "guidance = [2]\nfigures = { traces = true, end_step_ratios = 0.5 }",
        );
        assert!(
            message.ends_with("write end_step_ratios = [0.5]"),
            "{message}"
        );
    }

    #[test]
    fn what_is_left_out_of_score_is_what_was_published() {
        let score = RunSpec::parse(SMALL).unwrap().score;
        assert_eq!(score.mask_rule(), MaskRule::default());
        assert_eq!(score.decision, Decision::Cosine);
        // The area goes with the size of the slices, unless it is given.
        assert_eq!(
            [32, 48, 64, 128].map(|size| score.component_area_at(size)),
            [3, 6, 10, 40]
        );
        let text = SMALL.replacen(
            "guidance = [2]",
            "guidance = [2]\nmedian = 3\ncomponent_area = 12\nquantile_of = \"filtered\"\ndecision = \"mse-ratio\"",
            1,
        );
        let spec = RunSpec::parse(&text).unwrap();
        let rule = MaskRule {
            median: 3,
            quantile_of: QuantileOf::Filtered,
        };
        assert_eq!(spec.score.mask_rule(), rule);
        assert_eq!(spec.score.decision, Decision::MseRatio);
        assert_eq!(
            [32, 128].map(|size| spec.score.component_area_at(size)),
            [12, 12]
        );
        assert_eq!(RunSpec::parse(&spec.to_toml().unwrap()).unwrap(), spec);
    }

    #[test]
    fn a_preset_can_be_overridden_key_by_key() {
        let text = SMALL.replacen(
            "channels = 32\n        channel_mult = [1, 2]\n        attention = [16]",
            "preset = \"paper\"\n        heads = 2",
            1,
        );
        let model = RunSpec::parse(&text).unwrap().model["guided"].clone();
        let network = model.network(Role::Guided, 128, 4).unwrap();
        assert_eq!(network.channel_mult, [1, 1, 2, 3, 4]);
        assert_eq!(network.attention_downsample_rates, [4, 8, 16]);
        assert_eq!(network.heads, Heads::Count(2));
    }

    #[test]
    fn every_role_has_its_published_set_up() {
        let section = |role: Role, preset: &str| {
            let text = format!("\n[model.{role}]\npreset = \"{preset}\"\n[model.{role}.train]\n");
            let guided = SMALL.find("[model.guided]").unwrap();
            let score = SMALL.find("[score]").unwrap();
            let whole = match role {
                Role::Guided => format!("{}{text}{}", &SMALL[..guided], &SMALL[score..]),
                _ => format!("{SMALL}{text}"),
            };
            let spec = RunSpec::parse(&whole).unwrap();
            assert_eq!(RunSpec::parse(&spec.to_toml().unwrap()).unwrap(), spec);
            spec.model[role.name()].clone()
        };
        for (role, brats, atlas) in [
            (Role::Guided, (210_000, 64), (290_000, 64)),
            (Role::HealthyGaussian, (250_000, 64), (226_100, 64)),
            (Role::HealthySimplex, (350_000, 64), (156_100, 64)),
            (Role::Conditional, (500_000, 32), (145_000, 64)),
            (Role::Classifier, (150_000, 64), (40_000, 64)),
        ] {
            for (preset, expected, channels) in [("paper", brats, 4), ("paper-atlas", atlas, 1)] {
                let model = section(role, preset);
                let train = model.train.clone().unwrap();
                assert_eq!((train.steps, train.batch), expected, "{role} {preset}");
                let guided = if role == Role::Guided { 0.1 } else { 0.0 };
                assert_eq!(
                    (train.null_label, train.dropout),
                    (guided, guided),
                    "{role}"
                );
                let network = model.network(role, 128, channels).unwrap();
                assert_eq!(role.check(&network), Ok(()));
                assert_eq!(network.level_channels(), [128, 128, 256, 384, 512]);
            }
        }
        let classifier = section(Role::Classifier, "paper");
        let train = classifier.train.as_ref().unwrap();
        assert_eq!((train.learning_rate, train.ema), (3e-4, 0.0));
        let network = classifier.network(Role::Classifier, 128, 4).unwrap();
        assert_eq!(network.heads, Heads::Width(64));
        assert!(network.resblock_updown);
    }
}
