//! `[score]` and `[compute]`: what is computed, and how.

use serde::{Deserialize, Serialize};

use super::{BaselineSpec, Respacing, SpecError, is_default};
use crate::anofpdm::{self, MaskRule, QuantileOf};
use crate::method::Method;
use crate::metrics::RunDetail;
use crate::semantics::Semantics;

/// The guidance strengths w of Eq. 6.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "strengths are a list or a selection: write guidance = [2], or guidance = { select = [0.5, 1, 2] }"
)]
pub enum Guidance {
    /// Each of these is a row of the table.
    List(Vec<f64>),
    /// Algorithm 2 chooses one of these on the validation slices; the row carries it.
    Select { select: Vec<f64> },
}

impl Guidance {
    /// All strengths that may be computed.
    pub fn candidates(&self) -> &[f64] {
        match self {
            Self::List(list) | Self::Select { select: list } => list,
        }
    }
}

/// What a slice is called healthy or unhealthy by: a number of it against a threshold that is chosen on the validation
/// slices, from image-level labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The paper's: the cosine of the two MSE sequences (Eq. 18), unhealthy at or below the threshold.
    #[default]
    Cosine,
    /// Not in the paper: the sum of MSE^h over the sum of MSE^null, unhealthy at or above the threshold.
    MseRatio,
}

impl Decision {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::MseRatio => "mse-ratio",
        }
    }
}

/// How much of the scores of the pixels is kept: what the AUPRC is counted from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreDetail {
    /// All bits of every score.
    Exact,
    /// Of each score its bin: half of the bytes, and bounds of the AUPRC instead of the number.
    Histogram,
    /// `exact` where the table has at most three strengths; in a larger sweep for the strength that Algorithm 2 chose,
    /// and for baselines.
    #[default]
    Auto,
}

/// Most strengths of a table whose scores are all kept whole by themselves.
const FEW_STRENGTHS: usize = 3;

impl ScoreDetail {
    /// What a cell keeps, in a table of so many `strengths`; `selected` is the one that Algorithm 2 chose.
    pub const fn of_cell(self, strengths: usize, selected: bool) -> RunDetail {
        match self {
            Self::Exact => RunDetail::Exact,
            Self::Histogram => RunDetail::Histogram,
            Self::Auto if selected || strengths <= FEW_STRENGTHS => RunDetail::Exact,
            Self::Auto => RunDetail::Histogram,
        }
    }
}

/// What Figures 2 and 5 need beyond the table, kept in the records on request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Per-step traces of M, MSE^h, MSE^null and of S inside and outside the lesion (Figure 2).
    #[serde(default)]
    pub traces: bool,
    /// End steps as multiples of t_e (Figure 5c).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_step_ratios: Vec<f64>,
    /// Thresholds used for every slice instead of Q* (Figure 5d).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed_thresholds: Vec<f64>,
}

/// `[score]` of a spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// Which reading of the method (docs/science.md, "Three semantics").
    #[serde(default = "default_semantics")]
    pub semantics: Semantics,
    /// Forward steps, counted in kept indices of the schedule.
    #[serde(default = "default_steps")]
    pub steps: u32,
    #[serde(default = "default_respacing")]
    pub respacing: Respacing,
    pub methods: Vec<Method>,
    /// Guidance strengths of the AnoFPDM family; none where no method is of it.
    #[serde(default = "no_guidance")]
    pub guidance: Guidance,
    /// Noise seeds; the spread over them is the table's standard deviation.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// Side of the median filter, pixels: an odd number, 1 for none (Appendix F).
    #[serde(default = "default_median")]
    pub median: u32,
    /// Components of at most this many pixels are dropped from every mask (Appendix F); where absent, the 40 pixels of
    /// a slice of 128 x 128 scaled by area.
    pub component_area: Option<u32>,
    /// What the quantile of Algorithm 1 is taken of.
    #[serde(default)]
    pub quantile_of: QuantileOf,
    #[serde(default)]
    pub decision: Decision,
    /// How much of the scores is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auprc: ScoreDetail,
    /// Data for Figures 2 and 5.
    #[serde(default, skip_serializing_if = "is_default")]
    pub figures: FigureSpec,
    #[serde(default, skip_serializing_if = "is_default")]
    pub baseline: BaselineSpec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str, parse_err_ty = UnknownPrecision, parse_err_fn = unknown_precision)]
pub enum Precision {
    /// `fp32` on a CPU; on a GPU the first of a fixed order whose results agree with those of `fp32` on validation
    /// slices, which a run finds out once.
    Auto,
    /// IEEE float32 throughout.
    Fp32,
    /// float32 whose products are formed of TF32 factors: GPUs only.
    Tf32,
    /// float16 in convolutions and products: GPUs only.
    Fp16,
    /// bfloat16 in convolutions and products.
    Bf16,
}

impl Precision {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// True for a format that no CPU computes in.
    pub const fn needs_gpu(self) -> bool {
        matches!(self, Self::Tf32 | Self::Fp16)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision '{0}': one of fp32, tf32, fp16, bf16, auto")]
pub struct UnknownPrecision(String);

fn unknown_precision(text: &str) -> UnknownPrecision {
    UnknownPrecision(text.to_owned())
}

/// `[compute]` of a spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeSpec {
    #[serde(default = "default_precision")]
    pub precision: Precision,
    /// CPU: intra-op threads of a worker, part of the numeric profile.
    #[serde(default = "default_threads")]
    pub threads: u32,
    /// Slices a batch; part of a result's identity.
    #[serde(default = "default_batch_slices")]
    pub batch_slices: u32,
    /// Slices a shard, rounded up to whole batches; not part of a result's identity.
    #[serde(default = "default_shard_slices")]
    pub shard_slices: u32,
}

impl Default for ComputeSpec {
    fn default() -> Self {
        Self {
            precision: default_precision(),
            threads: default_threads(),
            batch_slices: default_batch_slices(),
            shard_slices: default_shard_slices(),
        }
    }
}

fn default_semantics() -> Semantics {
    Semantics::PaperClipped
}
fn no_guidance() -> Guidance {
    Guidance::List(Vec::new())
}
fn default_steps() -> u32 {
    600
}
fn default_respacing() -> Respacing {
    Respacing::None
}
fn default_seeds() -> Vec<u64> {
    vec![0, 1, 2]
}
const fn default_median() -> u32 {
    anofpdm::PUBLISHED_MEDIAN
}
fn default_precision() -> Precision {
    Precision::Auto
}
fn default_threads() -> u32 {
    1
}
fn default_batch_slices() -> u32 {
    33
}
fn default_shard_slices() -> u32 {
    132
}

pub const MAX_BATCH_SLICES: u32 = 4_096;

/// Most multiples of t_e asked for (Figure 5c).
pub const MAX_END_STEP_RATIOS: usize = 32;

/// Most fixed thresholds asked for (Figure 5d).
pub const MAX_FIXED_THRESHOLDS: usize = 128;

/// Most cells (method x guidance x seed) of one run: a shard names its cells in one short message.
const MAX_CELLS: usize = 4_096;

impl ScoreSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        let fail = |message: String| Err(SpecError::new(message));
        let kept = self.respacing.kept();
        if self.steps == 0 || self.steps > kept {
            return fail(format!(
                "score.steps is {}: 1 to {kept} (respacing = {} keeps {kept} steps)",
                self.steps, self.respacing
            ));
        }
        if self.methods.is_empty() {
            return fail(
                "score.methods is empty: name at least one, e.g. [\"anofpdm-ddim\"]".into(),
            );
        }
        let strengths = self.guidance.candidates();
        let guided = self
            .methods
            .iter()
            .find(|method| method.forward().is_some());
        if let Some(method) = guided
            && strengths.is_empty()
        {
            return fail(format!(
                "score.guidance names no strength, and {method} needs at least one, e.g. [2]"
            ));
        }
        if let Some(w) = strengths.iter().find(|w| !(0.0..=1000.0).contains(*w)) {
            return fail(format!(
                "score.guidance holds {w}: strengths are numbers from 0 to 1000 (Eq. 6)"
            ));
        }
        twice("score.methods", &self.methods)?;
        alike("score.guidance", strengths)?;
        if self.seeds.is_empty() {
            return fail("score.seeds is empty: name at least one, e.g. [0, 1, 2]".into());
        }
        twice("score.seeds", &self.seeds)?;
        let cells = self.methods.len() * strengths.len().max(1) * self.seeds.len();
        if cells > MAX_CELLS {
            return fail(format!(
                "methods x guidance x seeds are {cells} cells; at most {MAX_CELLS} fit one run: split the sweep"
            ));
        }
        self.mask_rule()
            .check()
            .map_err(|error| SpecError::new(format!("score.median: {error}")))?;
        self.baseline.validate(self.respacing)?;
        for ratio in &self.figures.end_step_ratios {
            if !(0.0..=100.0).contains(ratio) || *ratio == 0.0 {
                return fail(format!(
                    "score.figures.end_step_ratios holds {ratio}: numbers above 0 and up to 100"
                ));
            }
        }
        for threshold in &self.figures.fixed_thresholds {
            if !(threshold.is_finite() && *threshold >= 0.0) {
                return fail(format!(
                    "score.figures.fixed_thresholds holds {threshold}: non-negative numbers only"
                ));
            }
        }
        if self.figures.end_step_ratios.len() > MAX_END_STEP_RATIOS
            || self.figures.fixed_thresholds.len() > MAX_FIXED_THRESHOLDS
        {
            return fail(format!(
                "score.figures: at most {MAX_END_STEP_RATIOS} end_step_ratios and {MAX_FIXED_THRESHOLDS} \
                 fixed_thresholds"
            ));
        }
        Ok(())
    }
}

impl ScoreSpec {
    pub const fn mask_rule(&self) -> MaskRule {
        MaskRule {
            median: self.median,
            quantile_of: self.quantile_of,
        }
    }

    /// Components of at most this many pixels are dropped from masks of `size` x `size` pixels.
    pub fn component_area_at(&self, size: usize) -> u32 {
        self.component_area
            .unwrap_or_else(|| anofpdm::component_area_at(size))
    }
}

/// Numbers nearer to each other than this are one and the same row to a reader.
const ALIKE: f64 = 1e-9;

/// Refuses numbers that no table could tell apart.
pub(super) fn alike(key: &str, values: &[f64]) -> Result<(), SpecError> {
    twice(key, values)?;
    let mut pairs = values
        .iter()
        .enumerate()
        .flat_map(|(index, value)| values[..index].iter().map(move |other| (other, value)));
    match pairs.find(|(a, b)| (*a - *b).abs() <= ALIKE) {
        Some((a, b)) => Err(SpecError::new(format!(
            "{key} names {a} and {b}, which are one number to a reader: leave one of them out"
        ))),
        None => Ok(()),
    }
}

pub(super) fn twice<T: PartialEq + std::fmt::Display>(
    key: &str,
    values: &[T],
) -> Result<(), SpecError> {
    match values
        .iter()
        .enumerate()
        .find(|(index, value)| values[..*index].contains(value))
    {
        Some((_, value)) => Err(SpecError::new(format!("{key} names {value} twice"))),
        None => Ok(()),
    }
}

impl ComputeSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        for (key, value, limit) in [
            ("threads", self.threads, 1_024),
            ("batch_slices", self.batch_slices, MAX_BATCH_SLICES),
            ("shard_slices", self.shard_slices, 1_000_000),
        ] {
            if value == 0 || value > limit {
                return Err(SpecError::new(format!(
                    "compute.{key} is {value}: 1 to {limit} is supported"
                )));
            }
        }
        Ok(())
    }

    /// Batches in a shard: `shard_slices` rounded up to whole batches.
    pub const fn batches_per_shard(&self) -> u32 {
        self.shard_slices.div_ceil(self.batch_slices)
    }
}
