//! Single slices of a finished run with what its rows made of them, from its records: for a page that is not its report.

use std::collections::BTreeSet;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{CellOutput, SliceRef, Stage};
use anofpdm_common::record::KeptMap;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::journal::JournalError;

use super::images::Images;
use super::masks::masks;
use super::records::{of_cell, seed_of};
use crate::dataset::Dataset;
use crate::evaluate::fingerprint::fingerprint;
use crate::evaluate::position::Subjects;
use crate::evaluate::rows::row_of;
use crate::evaluate::{EvaluateError, Finished};
use crate::ledger::journal::read_ledger;
use crate::report::exhibits::Mask;
use crate::report::statistics::RowId;
use crate::run_folder::{RunFolder, RunFolderError};
use crate::spec_file::SpecFile;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordedError {
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// The records of a run that has scored, with the slices they are of.
pub(crate) struct RecordedSlices {
    scored: Finished,
    dataset: Dataset,
    artifacts: ArtifactStore,
    /// Of the records.
    pub(crate) fingerprint: Digest,
}

/// One slice.
pub(crate) struct RecordedSlice {
    /// Pixels of a side.
    pub(crate) side: usize,
    /// One image a modality, black to white.
    pub(crate) images: Vec<Vec<u8>>,
    pub(crate) truth: Mask,
    /// One entry a row that was asked for; `None` where the run does not have it.
    pub(crate) rows: Vec<Option<RecordedRow>>,
}

/// What a row made of it with its first noise seed.
pub(crate) struct RecordedRow {
    pub(crate) seed: u64,
    /// Where the run kept it.
    pub(crate) map: Option<KeptMap>,
    /// As if the slice were unhealthy.
    pub(crate) mask: Mask,
}

impl RecordedSlices {
    /// # Errors
    /// When records, store or calibration are not there, or not whole.
    pub(crate) fn open(folder: &RunFolder) -> Result<Self, RecordedError> {
        let spec = SpecFile::of(folder.spec()?, folder.root().join("spec.toml"));
        let ledger = read_ledger(folder)?;
        let artifacts = ArtifactStore::open(&folder.records()).map_err(EvaluateError::from)?;
        let calibrated = Finished::load(Stage::Calibrate, &ledger, &artifacts)?;
        let scored = Finished::load(Stage::Score, &ledger, &artifacts)?;
        Ok(Self {
            fingerprint: fingerprint([&calibrated, &scored]),
            dataset: spec.dataset().map_err(EvaluateError::from)?,
            scored,
            artifacts,
        })
    }

    pub(crate) fn modalities(&self) -> &[String] {
        &self.dataset.store().manifest().modalities
    }

    /// The test slices that are called `names` (subject, place in its volume), each with these rows; `None` for one that is
    /// not among them.
    ///
    /// # Errors
    /// When a record or a subject cannot be read.
    pub(crate) fn read(
        &self,
        names: &[(&str, i64)],
        rows: &[RowId],
    ) -> Result<Vec<Option<RecordedSlice>>, EvaluateError> {
        let found = self.find(names)?;
        let shown: BTreeSet<SliceRef> = found.iter().flatten().copied().collect();
        let side = self.dataset.store().manifest().size;
        let mut of_rows = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(cell) = self.cell(row, CellOutput::counts) else {
                of_rows.push(None);
                continue;
            };
            let masks = masks(&self.scored, &self.artifacts, cell, &shown, side * side)?;
            let exhibits = match self.cell(row, is_exhibit) {
                // Maps that were kept with another seed are not those of these masks.
                Some(kept) if self.seed(kept) == self.seed(cell) => {
                    of_cell(&self.scored, &self.artifacts, kept, |slice| {
                        shown.contains(slice)
                    })?
                }
                _ => Default::default(),
            };
            of_rows.push(Some((self.seed(cell), masks, exhibits)));
        }
        let mut images = Images::new(&self.dataset);
        let read = |slice: &Option<SliceRef>| {
            let Some(slice) = slice else {
                return Ok(None);
            };
            let shown = images.read(*slice)?;
            let rows = of_rows.iter().map(|row| {
                let (seed, masks, exhibits) = row.as_ref()?;
                Some(RecordedRow {
                    seed: *seed,
                    map: exhibits.get(slice).and_then(|exhibit| exhibit.map.clone()),
                    mask: masks.get(slice)?.clone(),
                })
            });
            Ok(Some(RecordedSlice {
                side,
                images: shown.images,
                truth: shown.truth,
                rows: rows.collect(),
            }))
        };
        found.iter().map(read).collect()
    }

    fn find(&self, names: &[(&str, i64)]) -> Result<Vec<Option<SliceRef>>, EvaluateError> {
        let of_subjects = |slice: &SliceRef| {
            let subject = self.dataset.subject(*slice);
            names.iter().any(|(name, _)| *name == subject)
        };
        let test = self.scored.plan.batches.iter().flatten().copied();
        let test: Vec<SliceRef> = test.filter(of_subjects).collect();
        let subjects = Subjects::of(&self.dataset, &test)?;
        let find = |(subject, place): &(&str, i64)| {
            let is = |slice: &&SliceRef| {
                self.dataset.subject(**slice) == *subject && subjects.place(**slice) == *place
            };
            test.iter().find(is).copied()
        };
        Ok(names.iter().map(find).collect())
    }

    /// The first cell of a row whose output is of a kind.
    fn cell(&self, row: &RowId, kind: fn(&CellOutput) -> bool) -> Option<usize> {
        let cells = &self.scored.plan.cells;
        let of_row = |cell| row_of(&self.scored, cell).as_ref() == Some(row);
        cells
            .iter()
            .position(|cell| kind(&cell.output) && of_row(cell))
    }

    fn seed(&self, cell: usize) -> u64 {
        let cell = self.scored.plan.cells.get(cell);
        cell.map_or(0, |cell| seed_of(&self.scored, cell))
    }
}

const fn is_exhibit(output: &CellOutput) -> bool {
    matches!(
        output,
        CellOutput::Exhibit { .. } | CellOutput::RestoredExhibit { .. }
    )
}
