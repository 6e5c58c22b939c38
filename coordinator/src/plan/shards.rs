//! Groups missing records into runs of batches: cells that share a trajectory travel together.

use std::collections::BTreeMap;

use anofpdm_common::plan::{BatchRun, ForwardPlan, MAX_SHARD_CELLS, MAX_SHARD_RECORDS, PlanError};

/// The runs that make every missing record once.
///
/// `missing(batch, cell)` says whether a record is still needed. Batches whose trajectory lacks the same cells form runs of
/// at most [`MAX_SHARD_RECORDS`] records; a finished record never enters a run again.
pub fn runs(
    plan: &ForwardPlan,
    mut missing: impl FnMut(usize, usize) -> bool,
) -> Result<Vec<BatchRun>, PlanError> {
    let out_of_range = |what, index| PlanError::OutOfRange { what, index };
    let mut cells_of: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for (index, cell) in plan.cells.iter().enumerate() {
        plan.trajectory(cell)?;
        let number = u16::try_from(index).map_err(|_| out_of_range("cell", index))?;
        cells_of.entry(cell.trajectory).or_default().push(number);
    }
    let mut runs = Vec::new();
    for cells in cells_of.values() {
        for cells in cells.chunks(MAX_SHARD_CELLS) {
            let mut open: Option<BatchRun> = None;
            for batch in 0..plan.batches.len() {
                let number = u32::try_from(batch).map_err(|_| out_of_range("batch", batch))?;
                let lacks = |cell: &u16| missing(batch, usize::from(*cell));
                let wanted: Vec<u16> = cells.iter().copied().filter(lacks).collect();
                match &mut open {
                    Some(run) if goes_on(run, number, &wanted) => run.count += 1,
                    open => {
                        let next = (!wanted.is_empty()).then_some(BatchRun {
                            first: number,
                            count: 1,
                            cells: wanted,
                        });
                        runs.extend(std::mem::replace(open, next));
                    }
                }
            }
            runs.extend(open);
        }
    }
    Ok(runs)
}

/// True when a batch that lacks these cells continues the run.
fn goes_on(run: &BatchRun, batch: u32, cells: &[u16]) -> bool {
    run.cells == cells
        && (run.count as usize) < MAX_SHARD_RECORDS / cells.len()
        && run.batches().end == batch
}
