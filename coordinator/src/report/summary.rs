//! `report/summary.json`: what other programs read.

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::best_dice::BestDice;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::metrics::summary::{mean, sample_std};
use anofpdm_common::store::slices::Split;
use serde::{Deserialize, Serialize};

use super::data::Data;
use super::exhibits::Exhibits;
use super::slices::SliceTable;
use super::statistics::{Paired, PatientResult, Ranking, RowId, WholeVolumes};
use crate::version::Program;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub run: String,
    /// One digest over sorted record keys and record digests.
    pub fingerprint: Digest,
    pub spec_digest: Digest,
    /// `paper`, `paper-clipped` or `reference`.
    pub semantics: String,
    /// Number format the networks ran in.
    pub precision: String,
    /// Why it is this one, where the run chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_reason: Option<String>,
    /// Device class of the numeric profile.
    pub device: String,
    /// What it was computed on; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// When the last record was there, UTC (RFC 3339); absent where an earlier version scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<String>,
    /// The program that added the records up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Proof that every slice was scored once.
    pub coverage: Coverage,
    /// Shards run again on other workers to compare bits.
    pub audits: Audits,
    pub rows: Vec<Row>,
    pub cost: Cost,
    /// What the image-level labels decided, for each encoding and strength.
    pub calibration: Vec<CalibrationRow>,
    /// What the pixel labels decided, for each baseline and setting of its grid.
    #[serde(default)]
    pub tuning: Vec<TuningRow>,
    /// Whether the numbers can be quoted, point by point.
    pub checks: Vec<Check>,
    /// How well single numbers of a slice tell unhealthy from healthy ones.
    pub classification: Vec<Classification>,
    /// Whether rows differ: all pairs of a set-up.
    #[serde(default)]
    pub paired: Vec<Paired>,
    /// How firm the order of the rows is.
    #[serde(default)]
    pub ranking: Vec<Ranking>,
    /// What each patient was, in each set-up.
    #[serde(default)]
    pub per_patient: Vec<PatientResult>,
    /// What a reader should know before quoting a number; the texts of the checks that are not ok among them.
    pub warnings: Vec<String>,
    /// Every slice by itself, for `slices.csv`.
    #[serde(skip)]
    pub slices: SliceTable,
    /// What figures and pictures are made of beside.
    #[serde(skip)]
    pub exhibits: Exhibits,
}

/// One reason why a number could mislead, looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the check (docs/formats.md lists them).
    pub id: String,
    pub state: State,
    /// The number that decides; null where there is none.
    pub value: Option<f64>,
    /// The number, what it means and what to do.
    pub text: String,
}

/// Whether a number can be quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Only with this said beside it.
    Look,
    No,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::No => "no",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum SliceScore {
    /// Cosine of the MSE sequences (Eq. 18): unhealthy at or below the threshold.
    Cosine,
    /// Sum of MSE^h over the sum of MSE^null: unhealthy at or above the threshold, like the others.
    MseRatio,
    BrainArea,
    /// Nearness to the middle of the volume: 1 there, 0 at both ends.
    MiddleSlice,
}

impl SliceScore {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Whether it needs no network.
    pub const fn is_trivial(self) -> bool {
        matches!(self, Self::BrainArea | Self::MiddleSlice)
    }
}

/// How well one number of a slice tells unhealthy from healthy slices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Which slices: `validation` or `test`.
    pub split: Split,
    pub score: SliceScore,
    /// `ddim` or `ddpm`; null for a trivial score.
    pub encoding: Option<String>,
    /// Guidance strength; null for a trivial score.
    pub guidance: Option<f64>,
    /// True for the number that calls slices healthy in the mixed rows.
    pub decides: bool,
    /// Noise seeds; empty for a trivial score. Shares are over all of them.
    pub seeds: Vec<u64>,
    pub patients: usize,
    /// Slices, each counted once.
    pub slices: usize,
    /// Of these, unhealthy ones.
    pub unhealthy: usize,
    /// The threshold; null where the validation slices give none.
    pub threshold: Option<f64>,
    /// `calibration`, or `validation`: the best accuracy on the validation slices.
    pub threshold_from: Option<String>,
    pub accuracy: Option<f64>,
    /// Accuracy of calling every slice the commoner kind.
    pub base_rate: Option<f64>,
    pub balanced_accuracy: Option<f64>,
    /// Share of the unhealthy slices called unhealthy.
    pub sensitivity: Option<f64>,
    /// Share of the healthy slices called healthy.
    pub specificity: Option<f64>,
    /// Area under the ROC curve of the number, higher (for the cosine: lower) meaning unhealthy.
    pub auroc: Value,
}

/// Slices x cells x seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Slice records the spec asks for.
    pub planned: u64,
    /// Slice records that count.
    pub scored: u64,
    /// Slice records delivered again with equal bits.
    pub duplicates: u64,
    /// Slice records delivered with different bits.
    pub conflicts: u64,
}

/// Shards run a second time, on another worker, to compare bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audits {
    pub shards: u64,
    /// Of these, with equal bits.
    pub agreed: u64,
    /// Of these, with a record that differed.
    pub conflicts: u64,
    /// Workers found to give wrong bits; nothing counts on their word alone.
    pub distrusted: Vec<String>,
}

/// One method at one strength in one set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the method, or of a trivial row.
    pub method: String,
    /// Guidance strength, or a baseline's own; null where there is none, and for trivial rows.
    pub guidance: Option<f64>,
    pub setup: Setup,
    /// Noise seeds; empty for trivial rows and those of other programs. A method that draws no noise is computed once and stands for all of them.
    pub seeds: Vec<u64>,
    /// Slices and patients of the set-up.
    #[serde(default)]
    pub slices: usize,
    #[serde(default)]
    pub patients: usize,
    pub dice: Value,
    pub iou: Value,
    /// Average precision of all pooled foreground pixels.
    pub auprc: Value,
    /// Mean average precision of batches of 100 slices, as the reference does.
    pub auprc_batch: Value,
    /// Area under the ROC curve of all pooled foreground pixels.
    #[serde(default)]
    pub auroc: Value,
    /// False positive rate of the same pixels at the highest threshold that finds 95 % of the lesion pixels.
    #[serde(default)]
    pub fpr95: Value,
    /// The best DICE that one threshold for all slices could reach, chosen with the pixel labels of these very slices;
    /// mean over seeds.
    #[serde(default)]
    pub best_dice: Option<BestDice>,
    /// Shares of the predicted pixels that are right and of the true ones that are found, all slices together.
    #[serde(default)]
    pub precision: Value,
    #[serde(default)]
    pub recall: Value,
    #[serde(flatten)]
    pub localized: Localized,
    /// Mixed rows of runs that have whole patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<WholeVolumes>,
    /// True where a threshold or a setting was chosen with pixel labels.
    pub pixel_labels: bool,
    /// Modality maps without a defined mean (t_e = 0 under `reference`), summed over seeds.
    pub undefined_maps: u64,
    /// What a baseline was computed with; absent for other rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<RowSettings>,
}

impl Row {
    /// Its name, whichever set-up it is of.
    pub fn id(&self) -> RowId {
        RowId {
            method: self.method.clone(),
            guidance: self.guidance,
        }
    }
}

/// Where the masks of a row lie; nothing of rows of other programs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Localized {
    /// Mean over the slices that have one, in pixels: those where both masks show something.
    #[serde(default)]
    pub hd95: Value,
    /// How many these are, slices x seeds.
    #[serde(default)]
    pub hd95_slices: usize,
    /// Lesion-wise F1 of the components in all slices together.
    #[serde(default)]
    pub lesion_f1: Value,
}

/// What a baseline's row was computed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowSettings {
    /// `published` or `port`: decided by the semantics.
    pub form: String,
    /// Noise scale S, in kept steps.
    pub noise_scale: u32,
    /// Guidance w, or scale of the classifier's gradient; null for a method without.
    pub strength: Option<f64>,
    /// Threshold on the map; null where each slice has its own.
    pub threshold: Option<f32>,
    /// `common`, or the native rule: `fixed`, `otsu`.
    pub postprocessing: String,
}

/// A number with its spread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Value {
    pub mean: Option<f64>,
    /// Sample standard deviation over seeds; null with fewer than two.
    pub std: Option<f64>,
    /// One value a seed.
    pub per_seed: Vec<Option<f64>>,
    /// 95 % interval of a bootstrap over patients; null where it is not defined.
    pub ci95: Option<[f64; 2]>,
    /// What the exact mean certainly lies between, where scores were kept as bins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[f64; 2]>,
}

impl Value {
    /// From one value a seed.
    pub fn over_seeds(per_seed: Vec<Option<f64>>, ci95: Option<[f64; 2]>) -> Self {
        Self {
            mean: mean(&per_seed),
            std: sample_std(&per_seed),
            per_seed,
            ci95,
            bounds: None,
        }
    }

    /// The same, known to lie within these bounds, one pair a seed; `None` where it is exact.
    #[must_use]
    pub fn within(mut self, per_seed: Option<&[Option<[f64; 2]>]>) -> Self {
        let end = |which: usize| {
            let ends = per_seed?.iter().map(|bounds| Some(bounds.as_ref()?[which]));
            mean(&ends.collect::<Vec<_>>())
        };
        self.bounds = end(0).zip(end(1)).map(|(lower, upper)| [lower, upper]);
        self
    }
}

/// What the run took, over all its starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Evaluations of one slice by one network, training counted in forward passes.
    pub network_evaluations: u64,
    pub by_stage: StageEvaluations,
    /// Evaluations spent on padding the last batches.
    pub padding: u64,
    /// Evaluations of shards whose records were there already: audits, copies, late deliveries.
    pub repeated_evaluations: u64,
    /// Time devices worked, seconds.
    pub device_seconds: f64,
    /// What devices drew, where the driver of each told; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyUsed>,
    /// Time coordinators were at work, seconds.
    pub wall_seconds: f64,
    /// Test slices x trajectories (an encoding or a baseline, and a seed) over the device time of scoring.
    pub slices_per_second: f64,
    /// Scoring by method, one noise seed.
    #[serde(default)]
    pub methods: Vec<MethodCost>,
}

/// What devices drew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyUsed {
    pub joules: f64,
    /// Device time in which they drew it, seconds: less than all of it where some device told nothing.
    pub of_device_seconds: f64,
}

/// What scoring one slice with one method takes. Methods of one encoding share a pass, and each names all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodCost {
    pub method: String,
    /// Network evaluations, those of a classifier included.
    pub evaluations_per_slice: u64,
    /// Of these, passes of a classifier with its gradient.
    pub classifier_evaluations_per_slice: u64,
    /// Device time; null where every record came from the cache.
    pub seconds_per_slice: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEvaluations {
    pub train: u64,
    pub calibrate: u64,
    pub score: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    /// `ddim` or `ddpm`.
    pub encoding: String,
    pub guidance: f64,
    /// Cos_w: slices at or below it are called unhealthy.
    pub cos_threshold: f64,
    /// Accuracy of that decision on the validation slices.
    pub accuracy: f64,
    /// M_max, for each scored modality.
    pub max_divergence: Vec<f32>,
    /// Chosen by Algorithm 2.
    pub selected: bool,
}

/// One setting of a baseline's grid, with its best threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningRow {
    pub method: String,
    /// Noise scale S, in kept steps.
    pub noise_scale: u32,
    /// Guidance w, or scale of the classifier's gradient; null for a method without.
    pub strength: Option<f64>,
    pub threshold: f32,
    /// Mixed DICE of the validation slices at that threshold; null where nothing was tuned.
    pub dice: Option<f64>,
    /// True where pixel labels were read.
    pub pixel_labels: bool,
    /// True for the setting that was scored.
    pub selected: bool,
}
