//! Cells by the rows they belong to, and the exhibits that were kept of them.

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::plan::{Cell, CellOutput, SliceRef, Trajectory};
use anofpdm_common::record::{Exhibit, Record};
use anofpdm_common::store::artifacts::ArtifactStore;

use super::Sources;
use crate::evaluate::rows::row_of;
use crate::evaluate::{EvaluateError, Finished};
use crate::report::statistics::RowId;
use crate::stored_record;

/// The exhibits of one cell, by slice.
pub(super) struct KeptCell {
    /// Number of the cell in the plan.
    pub(super) cell: usize,
    pub(super) row: RowId,
    pub(super) seed: u64,
    pub(super) exhibits: BTreeMap<SliceRef, Exhibit>,
}

/// The noise seed of a cell; 0 where it draws no noise.
pub(super) fn seed_of(finished: &Finished, cell: &Cell) -> u64 {
    match finished.plan.trajectory(cell) {
        Ok(Trajectory::Forward(walk)) => walk.seed,
        Ok(Trajectory::Restoration(walk)) => walk.seed.unwrap_or(0),
        Err(_) => 0,
    }
}

/// Of every cell that keeps exhibits; only batches that have some are read. Maps are kept of the slices that are `shown`.
pub(super) fn kept(
    sources: &Sources<'_>,
    shown: &BTreeSet<SliceRef>,
) -> Result<Vec<KeptCell>, EvaluateError> {
    let finished = sources.scored;
    let plan = &finished.plan;
    let mut found = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        if !matches!(
            cell.output,
            CellOutput::Exhibit { .. } | CellOutput::RestoredExhibit { .. }
        ) {
            continue;
        }
        let Some(row) = row_of(finished, cell) else {
            continue;
        };
        let looked_at = |slice: &SliceRef| plan.exhibits.of(*slice).any();
        let mut exhibits = of_cell(finished, sources.artifacts, number, looked_at)?;
        for (slice, exhibit) in &mut exhibits {
            exhibit.map.take_if(|_| !shown.contains(slice));
        }
        found.push(KeptCell {
            cell: number,
            row,
            seed: seed_of(finished, cell),
            exhibits,
        });
    }
    Ok(found)
}

/// What a cell kept of the slices that are `wanted`; batches without one are not read.
pub(super) fn of_cell(
    finished: &Finished,
    artifacts: &ArtifactStore,
    cell: usize,
    wanted: impl Fn(&SliceRef) -> bool,
) -> Result<BTreeMap<SliceRef, Exhibit>, EvaluateError> {
    let mut found = BTreeMap::new();
    for (batch, records) in finished.plan.batches.iter().zip(&finished.records) {
        if !batch.iter().any(&wanted) {
            continue;
        }
        let Some((_, digest)) = records.get(cell) else {
            continue;
        };
        let Record::Exhibits(of_batch) = stored_record::read(artifacts, *digest)? else {
            return Err(EvaluateError::Kind(*digest));
        };
        for (slice, exhibit) in batch.iter().zip(of_batch) {
            if let Some(exhibit) = exhibit
                && wanted(slice)
            {
                found.insert(*slice, *exhibit);
            }
        }
    }
    Ok(found)
}
