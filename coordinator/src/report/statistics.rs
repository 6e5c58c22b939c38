//! Parts of `summary.json` about patients: what each one was, whether rows differ, how firm their order is.

use anofpdm_common::metrics::setup::Setup;
use serde::{Deserialize, Serialize};

/// One row of the table by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowId {
    pub method: String,
    pub guidance: Option<f64>,
}

/// What rows are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    Dice,
    Auprc,
}

impl Metric {
    pub const ALL: [Self; 2] = [Self::Dice, Self::Auprc];

    /// As tables print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dice => "DICE",
            Self::Auprc => "AUPRC",
        }
    }
}

/// All pairs of rows of one set-up by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    pub setup: Setup,
    pub metric: Metric,
    /// Patients that every row has a value of.
    pub patients: usize,
    /// The smallest p that the sign-flip test of so many patients can have.
    pub smallest_p: f64,
    /// The same after Holm's correction for all these pairs.
    pub smallest_adjusted_p: f64,
    /// Why nothing can be found, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub comparisons: Vec<Comparison>,
}

/// Two rows over the same patients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub first: RowId,
    pub second: RowId,
    /// Of the numbers in the table, the first less the second.
    pub difference: Option<f64>,
    /// 95 % interval of it by the bootstrap over patients; null with fewer than two.
    pub ci95: Option<[f64; 2]>,
    /// Mean over patients of the difference of their values: what is tested.
    pub patient_difference: f64,
    /// Patients in whom the first is better, in whom the second is, and the others.
    pub better: usize,
    pub worse: usize,
    pub equal: usize,
    pub sign_flip: Test,
    pub signed_rank: Test,
}

/// A two-sided test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub p: f64,
    /// After Holm's correction for all pairs of the set-up and metric.
    pub adjusted_p: f64,
    /// Whether p was counted over all patterns of signs.
    pub exact: bool,
}

/// One patient in one set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatientResult {
    pub patient: String,
    pub setup: Setup,
    pub slices: u64,
    /// Lesion pixels of these slices.
    pub truth: u64,
    /// Whether all slices that the store has of the patient are scored.
    pub whole: bool,
    pub rows: Vec<PatientRow>,
}

/// What one row made of a patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatientRow {
    pub method: String,
    pub guidance: Option<f64>,
    /// Means over the patient's slices and over seeds.
    pub dice: f64,
    pub iou: f64,
    /// Of the patient's pixels, mean over seeds; null without a lesion pixel in the foreground.
    pub auprc: Option<f64>,
    /// Pixels of the masks, mean over seeds.
    pub predicted: f64,
}

/// How the rows of one set-up are ranked by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    pub setup: Setup,
    pub metric: Metric,
    pub patients: usize,
    pub rows: Vec<RowId>,
    pub rankings: Vec<RankingBy>,
    /// Kendall's tau-b between the rankings of each two ways.
    pub agreement: Vec<Agreement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RankedBy {
    /// By the number in the table.
    AggregateThenRank,
    /// By the mean of the ranks within each patient.
    RankThenAggregate,
    /// By the number of rows that are significantly worse.
    TestBased,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingBy {
    pub by: RankedBy,
    /// Rank of each row, 1 the best; equal rows share the better rank.
    pub ranks: Vec<usize>,
    /// For each row the share of bootstrap resamples in which it has rank 1, 2, …
    pub shares: Vec<Vec<f64>>,
    /// Kendall's tau-b between `ranks` and the ranks in a resample, mean over resamples.
    pub kendall: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    pub first: RankedBy,
    pub second: RankedBy,
    pub kendall: Option<f64>,
}

/// Volumes: the DICE of a patient's slices together, and whether larger lesions get larger masks (pixels of the masks and
/// of the truth, patient by patient).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WholeVolumes {
    /// Patients all of whose slices are scored.
    pub patients: usize,
    /// 3-D DICE: of the pixels of all slices of a patient together, counts added up over seeds; mean over the patients.
    #[serde(default)]
    pub dice: Option<f64>,
    /// Null with fewer than three such patients, or where all have the same.
    pub pearson: Option<f64>,
    pub spearman: Option<f64>,
}
