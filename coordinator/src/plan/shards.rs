//! Groups missing records into jobs: cells that share a trajectory travel together (DESIGN 8).

use std::collections::BTreeMap;

use anofpdm_common::ids::Digest;
use anofpdm_common::work::{
    ForwardPlan, Job, MAX_SHARD_CELLS, MAX_SHARD_RECORDS, PlanError, Stage, Task,
};

/// The jobs that make every missing record once.
///
/// `missing(batch, cell)` says whether a record is still needed. Batches whose trajectory lacks the same
/// cells form runs of at most `batches_per_shard`, and of at most [`MAX_SHARD_RECORDS`] records; a finished record never enters a job again.
///
/// # Errors
/// [`PlanError`] when the plan contradicts itself.
pub fn shards(
    plan: &ForwardPlan,
    plan_digest: Digest,
    batches_per_shard: u32,
    mut missing: impl FnMut(usize, usize) -> bool,
) -> Result<Vec<Job>, PlanError> {
    let mut cells_of: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for (index, cell) in plan.cells.iter().enumerate() {
        plan.trajectory(cell)?;
        let index = u16::try_from(index).map_err(|_| PlanError::OutOfRange {
            what: "cell",
            index,
        })?;
        cells_of.entry(cell.trajectory).or_default().push(index);
    }
    let mut jobs = Vec::new();
    for cells in cells_of.values() {
        for cells in cells.chunks(MAX_SHARD_CELLS) {
            let mut open: Option<Task> = None;
            for batch in 0..plan.batches.len() {
                let wanted: Vec<u16> = cells
                    .iter()
                    .copied()
                    .filter(|cell| missing(batch, usize::from(*cell)))
                    .collect();
                open = extend(open, batch, wanted, batches_per_shard, |task| {
                    jobs.push(job(plan.stage, plan_digest, task));
                })?;
            }
            jobs.extend(open.map(|task| job(plan.stage, plan_digest, task)));
        }
    }
    Ok(jobs)
}

/// Adds a batch to the open task, or closes it and opens the next.
fn extend(
    open: Option<Task>,
    batch: usize,
    wanted: Vec<u16>,
    limit: u32,
    mut close: impl FnMut(Task),
) -> Result<Option<Task>, PlanError> {
    let batch = u32::try_from(batch).map_err(|_| PlanError::OutOfRange {
        what: "batch",
        index: batch,
    })?;
    if let Some(Task::Batches {
        first,
        count,
        cells,
    }) = &open
        && *cells == wanted
        && *count < limit
        && (*count as usize) < MAX_SHARD_RECORDS / cells.len()
        && first + count == batch
    {
        return Ok(Some(Task::Batches {
            first: *first,
            count: count + 1,
            cells: wanted,
        }));
    }
    if let Some(task) = open {
        close(task);
    }
    Ok((!wanted.is_empty()).then_some(Task::Batches {
        first: batch,
        count: 1,
        cells: wanted,
    }))
}

fn job(stage: Stage, plan: Digest, task: Task) -> Job {
    Job { stage, plan, task }
}
