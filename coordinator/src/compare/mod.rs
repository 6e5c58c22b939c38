//! Runs beside each other: in what they differ, and whether their numbers do. Every number is read from their reports;
//! stores and records are needed for pictures alone.

#[cfg(test)]
mod browser;
mod common_slices;
pub mod compared;
mod differing;
mod opened;
pub mod page;
pub mod pictures;
mod rows;
mod slices_file;
#[cfg(test)]
mod tests;
pub mod text;

use std::path::PathBuf;

use anofpdm_common::ids::Digest;

use crate::run_folder::RunFolderError;
use common_slices::Common;
use compared::{Compared, ComparedRun, label};
use opened::Opened;
pub use opened::checked_report;
pub use slices_file::SlicesFileError;

/// Runs that are compared at a time: columns a reader can follow.
pub const MOST_RUNS: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    // Printed, so that exit codes find it in the chain.
    #[error("{0}")]
    Folder(#[from] RunFolderError),
    #[error("{0} has no report yet: `anofpdm report {0}` writes it once the run has scored")]
    NoReport(PathBuf),
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not the summary of a run ({source}): `anofpdm report RUN` writes it again")]
    NoSummary {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "the report of {0} is of an earlier version and does not say what it was computed on: `anofpdm report {0}` writes it again"
    )]
    Earlier(PathBuf),
    #[error(transparent)]
    Slices(#[from] SlicesFileError),
    #[error(
        "slices.csv of {path} does not belong to its summary.json: {what}; `anofpdm report RUN` writes both again"
    )]
    OtherReport { path: PathBuf, what: String },
    #[error("there are not two runs to compare")]
    TooFew,
    #[error(
        "{first} and {second} are of other slice stores ({}… and {}…): their numbers are not of the same slices; --intersect \
         compares the slices of the same names that both have",
        short(&.stores[0]), short(&.stores[1])
    )]
    OtherStore {
        first: PathBuf,
        second: PathBuf,
        stores: [Digest; 2],
    },
    #[error(
        "{first} and {second} are of other test slices ({only_first} only in the first, {only_second} only in the second): \
         --intersect compares those that both have"
    )]
    OtherSlices {
        first: PathBuf,
        second: PathBuf,
        only_first: usize,
        only_second: usize,
    },
    #[error(
        "no test slice is in all of these runs: patient, subject and slice must be called the same, as `[data] seed`, `split` \
         and `test_slices` decide"
    )]
    NothingCommon,
    #[error(
        "{differ} of {slices} common slices have a lesion in one run and none in another: these are not the same subjects, or \
         not the same masks"
    )]
    OtherTruth { slices: usize, differ: usize },
}

impl CompareError {
    /// Whether the runs, though each can be read, do not fit together.
    pub const fn is_misfit(&self) -> bool {
        matches!(
            self,
            Self::TooFew
                | Self::OtherStore { .. }
                | Self::OtherSlices { .. }
                | Self::NothingCommon
                | Self::OtherTruth { .. }
        )
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

/// Runs whose reports are read.
#[derive(Debug)]
pub struct Runs(Vec<Opened>);

impl Runs {
    /// Those whose folders, reports or summaries lie at `paths`.
    ///
    /// # Errors
    /// When one cannot be read, or there is only one.
    pub fn open(paths: &[PathBuf]) -> Result<Self, CompareError> {
        let runs = paths.iter().map(|path| Opened::open(path));
        let runs: Vec<Opened> = runs.collect::<Result<_, _>>()?;
        if runs.len() < 2 {
            return Err(CompareError::TooFew);
        }
        Ok(Self(runs))
    }

    /// Beside each other, with the `most` slices that differ most.
    ///
    /// # Errors
    /// When they are of other slices and `intersect` is not asked for.
    pub fn compare(&self, intersect: bool, most: usize) -> Result<Compared, CompareError> {
        let runs = &self.0;
        let common = Common::of(runs, intersect)?;
        let aligned = rows::align(runs, &common);
        let intersected = common.told.intersected;
        let shown = aligned.iter().filter_map(|row| row.compared(intersected));
        Ok(Compared {
            rows: shown.collect(),
            paired: rows::paired(&aligned),
            patients: rows::patients(&aligned, &common),
            changed: rows::changed(&aligned, &common, runs, most),
            facts: differing::facts(runs),
            spec: differing::specs(runs),
            notes: notes(runs, &common),
            slices: common.told.clone(),
            runs: runs.iter().enumerate().map(told).collect(),
        })
    }
}

fn told((place, run): (usize, &Opened)) -> ComparedRun {
    let summary = &run.summary;
    ComparedRun {
        label: label(place),
        path: run.path.display().to_string(),
        run: summary.run.clone(),
        fingerprint: summary.fingerprint,
        semantics: summary.semantics.clone(),
        precision: summary.precision.clone(),
        device: summary.device.clone(),
        data: run.data.clone(),
        program: summary.program.clone(),
    }
}

fn notes(runs: &[Opened], common: &Common<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let told = &common.told;
    if told.intersected {
        let of: Vec<String> = told.of.iter().map(ToString::to_string).collect();
        notes.push(format!(
            "the runs are of other slices: numbers are of the {} slices ({} with a lesion) of {} patients that all have, of {}",
            told.compared,
            told.unhealthy,
            told.patients,
            of.join(", ")
        ));
        if told.other_truth > 0 {
            notes.push(format!(
                "{} common slices are left out: they have a lesion in one run and none in another",
                told.other_truth
            ));
        }
        notes.push(
            "AUPRC and rows that are not of a method (trivial ones, those of --with) cannot be formed anew from slices.csv and \
             are left out"
                .to_owned(),
        );
    }
    let differing = |of: &dyn Fn(&Opened) -> String| -> Option<String> {
        let values: Vec<String> = runs.iter().map(of).collect();
        let differ = values.iter().any(|value| *value != values[0]);
        differ.then(|| values.join(", "))
    };
    if let Some(sizes) = differing(&|run| run.data.size.to_string()) {
        notes.push(format!(
            "slices have other sizes ({sizes}): DICE is of masks on each run's own grid"
        ));
    }
    if let Some(semantics) = differing(&|run| run.summary.semantics.clone()) {
        notes.push(format!(
            "the runs read the method in other ways: {semantics}"
        ));
    }
    for (first, run) in runs.iter().enumerate() {
        for (second, other) in runs.iter().enumerate().skip(first + 1) {
            if run.summary.fingerprint == other.summary.fingerprint {
                notes.push(format!(
                    "{} and {} have the same fingerprint: their records are the same, and what differs was decided when they were added up",
                    label(first),
                    label(second)
                ));
            }
        }
        if run.spec.is_none() {
            notes.push(format!(
                "{}: no spec that can be read lies beside the report, so specs are not compared",
                label(first)
            ));
        }
    }
    notes
}
