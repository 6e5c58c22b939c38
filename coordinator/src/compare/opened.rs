//! The report of one run, opened: what its `summary.json`, `slices.csv` and spec say.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anofpdm_common::metrics::evaluate::section;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::spec::RunSpec;

use super::CompareError;
use super::slices_file::SlicesFile;
use crate::report::data::{Data, list_digest};
use crate::report::slices::SliceName;
use crate::report::summary::{Row, Summary};
use crate::run_folder::RunFolder;

/// Largest `summary.json` that is read.
const MAX_BYTES: u64 = 1 << 30;
/// What a mean may differ by when it is formed in another order.
const SAME: f64 = 1e-9;

const SUMMARY: &str = "summary.json";

#[derive(Debug)]
pub(super) struct Opened {
    /// As it was asked for.
    pub(super) path: PathBuf,
    pub(super) summary: Summary,
    pub(super) data: Data,
    /// In which the report lies, where it lies in one.
    pub(super) folder: Option<RunFolder>,
    /// Where it can be read.
    pub(super) spec: Option<RunSpec>,
    pub(super) slices: SlicesFile,
}

/// The folder of a report: `path` is it, its `summary.json`, or a run.
fn report_folder(path: &Path) -> Result<PathBuf, CompareError> {
    if path.is_file() && path.file_name().is_some_and(|name| name == SUMMARY) {
        return Ok(path.parent().unwrap_or(Path::new("")).to_path_buf());
    }
    if path.join(SUMMARY).is_file() {
        return Ok(path.to_path_buf());
    }
    let report = RunFolder::open(path)?.report();
    if report.join(SUMMARY).is_file() {
        Ok(report)
    } else {
        Err(CompareError::NoReport(path.to_path_buf()))
    }
}

fn read_summary(report: &Path) -> Result<Summary, CompareError> {
    let path = report.join(SUMMARY);
    let failed = |source| CompareError::Read {
        path: path.clone(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(&path).map_err(failed)?;
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| CompareError::NoSummary { path, source })
}

/// The folder of the report at `path` (a run, a report, or its `summary.json`) and its summary, once `slices.csv` was seen
/// to belong to it.
///
/// # Errors
/// When there is no report, or its files do not belong together.
pub fn checked_report(path: &Path) -> Result<(PathBuf, Summary), CompareError> {
    let report = report_folder(path)?;
    Ok((report, Opened::open(path)?.summary))
}

impl Opened {
    pub(super) fn open(path: &Path) -> Result<Self, CompareError> {
        let report = report_folder(path)?;
        let summary = read_summary(&report)?;
        let Some(data) = summary.data.clone() else {
            return Err(CompareError::Earlier(path.to_path_buf()));
        };
        let side = u32::try_from(data.size).unwrap_or(u32::MAX);
        let slices = SlicesFile::read(&report.join("slices.csv"), side.saturating_mul(side))?;
        let root = std::path::absolute(&report).ok();
        let folder = root
            .as_deref()
            .and_then(Path::parent)
            .and_then(RunFolder::at);
        let opened = Self {
            path: path.to_path_buf(),
            summary,
            data,
            spec: folder.as_ref().and_then(|run| run.spec().ok()),
            folder,
            slices,
        };
        opened.belongs_together()?;
        Ok(opened)
    }

    /// Refuses a `slices.csv` of another report.
    fn belongs_together(&self) -> Result<(), CompareError> {
        let other = |what: String| CompareError::OtherReport {
            path: self.path.clone(),
            what,
        };
        if list_digest(&self.slices.names) != self.data.test_list {
            return Err(other("they are of other slices".to_owned()));
        }
        let patients: Vec<u32> = vec![0; self.slices.names.len()];
        let all: Vec<usize> = (0..self.slices.names.len()).collect();
        for row in self.scored_rows() {
            let name = &row.method;
            let each = self
                .statistics(row, &all, &patients)
                .ok_or_else(|| other(format!("{name} is not in slices.csv with all its seeds")))?;
            for (slices, told) in each.iter().zip(&row.dice.per_seed) {
                let found = section(slices, None, row.setup).dice;
                let same = match (found, told) {
                    (Some(found), Some(told)) => (found - told).abs() <= SAME,
                    (found, told) => found.is_none() && told.is_none(),
                };
                if !same {
                    return Err(other(format!(
                        "{name} has another {} DICE",
                        row.setup.name()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Rows of which `slices.csv` has every slice: those of methods.
    pub(super) fn scored_rows(&self) -> impl Iterator<Item = &Row> {
        let rows = self.summary.rows.iter();
        rows.filter(|row| !row.seeds.is_empty())
    }

    /// What a row made of the `chosen` slices, one list a noise seed; `patients` are the patients of these slices, as
    /// numbers. `None` where the row is not in `slices.csv`.
    pub(super) fn statistics(
        &self,
        row: &Row,
        chosen: &[usize],
        patients: &[u32],
    ) -> Option<Vec<Vec<SliceStatistics>>> {
        let cells = &self.slices.cells;
        let of_row = |seed: Option<u64>| {
            let mut cells = cells.iter().filter(move |cell| cell.seed == seed);
            cells.find(|cell| cell.row.method == row.method && cell.row.guidance == row.guidance)
        };
        let seeds = row.seeds.iter();
        seeds
            .map(|seed| {
                let cell = of_row(Some(*seed)).or_else(|| of_row(None))?;
                let slices = chosen.iter().zip(patients);
                slices
                    .map(|(slice, patient)| {
                        let outcome = cell.outcomes.get(*slice)?;
                        Some(SliceStatistics {
                            patient: *patient,
                            unhealthy: outcome.overlap.truth > 0,
                            classified_unhealthy: outcome.called_unhealthy,
                            overlap: outcome.overlap,
                        })
                    })
                    .collect()
            })
            .collect()
    }

    /// Patients in the order of the store, which is that of their numbers in a report.
    pub(super) fn patients(&self) -> Vec<&str> {
        let mixed = self.summary.per_patient.iter();
        let mixed = mixed.filter(|patient| patient.setup == Setup::Mixed);
        let mut found: Vec<&str> = mixed.map(|patient| patient.patient.as_str()).collect();
        for SliceName { patient, .. } in &self.slices.names {
            if !found.contains(&patient.as_str()) {
                found.push(patient);
            }
        }
        found
    }
}
