//! What a comparison of runs found: what `anofpdm compare --json` prints.

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::setup::Setup;
use serde::Serialize;

use crate::report::data::Data;
use crate::report::statistics::{Comparison, Metric};
use crate::report::summary::Value;
use crate::version::Program;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub runs: Vec<ComparedRun>,
    pub slices: CommonSlices,
    /// What a reader should know before quoting a number.
    pub notes: Vec<String>,
    /// What the runs were computed on and with, where they differ.
    pub facts: Vec<Differing>,
    /// Keys of the normalised specs with other values.
    pub spec: Vec<Differing>,
    pub rows: Vec<ComparedRow>,
    /// Whether runs differ, in each set-up, by DICE and AUPRC of patients.
    pub paired: Vec<PairedRuns>,
    pub patients: Vec<ComparedPatient>,
    /// Of each set-up the slices whose DICE differs most, the largest difference first.
    pub changed: Vec<ChangedSlice>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRun {
    /// A, B, …: what it is called in the rest.
    pub label: String,
    /// As it was asked for.
    pub path: String,
    pub run: String,
    pub fingerprint: Digest,
    pub semantics: String,
    pub precision: String,
    pub device: String,
    pub data: Data,
    pub program: Option<Program>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommonSlices {
    /// Test slices that numbers are of, and those of each run.
    pub compared: usize,
    pub of: Vec<usize>,
    pub patients: usize,
    pub unhealthy: usize,
    /// In all runs, and left out since they have a lesion in some and none in others.
    pub other_truth: usize,
    /// Whether the runs are of other slices, and numbers were formed anew of those that all have.
    pub intersected: bool,
}

/// A fact or key, with what each run says; null where it does not say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    pub key: String,
    pub values: Vec<Option<String>>,
}

/// One method in one set-up; a value for each run, null where the run does not have the row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRow {
    pub method: String,
    /// Strength in each run.
    pub guidance: Vec<Option<f64>>,
    pub setup: Setup,
    pub pixel_labels: bool,
    pub dice: Vec<Option<Value>>,
    pub iou: Vec<Option<Value>>,
    /// Null of all runs where slices were left out: it is of all pixels together.
    pub auprc: Vec<Option<Value>>,
}

/// All pairs of runs, row by row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedRuns {
    pub setup: Setup,
    /// AUPRC is of all pixels together, so its differences have no interval here, and none at all where slices were left
    /// out.
    pub metric: Metric,
    /// Patients with a value in both runs of some pair.
    pub patients: usize,
    pub smallest_p: f64,
    pub smallest_adjusted_p: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub comparisons: Vec<RunPair>,
}

/// The row of one run less that of an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunPair {
    /// Labels.
    pub first_run: String,
    pub second_run: String,
    #[serde(flatten)]
    pub comparison: Comparison,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedPatient {
    pub patient: String,
    pub setup: Setup,
    pub method: String,
    /// Mean over the patient's slices and over seeds, of each run.
    pub dice: Vec<Option<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedSlice {
    pub patient: String,
    pub subject: String,
    pub slice: i64,
    /// Lesion pixels, in the first of the two runs.
    pub truth: u32,
    pub setup: Setup,
    pub method: String,
    pub first_run: String,
    pub second_run: String,
    /// Strength in the first run, and in the second.
    pub guidance: [Option<f64>; 2],
    /// DICE of the slice in that set-up, mean over seeds.
    pub first: f64,
    pub second: f64,
}

impl ChangedSlice {
    pub fn change(&self) -> f64 {
        self.first - self.second
    }
}

/// A for the first run.
pub(super) fn label(place: usize) -> String {
    char::from_u32('A' as u32 + u32::try_from(place).unwrap_or(u32::MAX))
        .map_or_else(|| place.to_string(), String::from)
}
