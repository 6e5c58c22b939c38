//! The batches of a shard, one after another: read, computed, stored, counted.

use std::ops::Range;

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{Cell, ForwardPlan, PlanError, Trajectory};

use crate::fake::FakeDevice;
use crate::methods::anofpdm::ForwardError;

use super::artifacts::put;
use super::failure::JobError;
use super::read_ahead::{BatchesAhead, read_ahead};
use super::renewal::Progress;
use super::slices::{Batch, BatchReader};
use super::{JobResult, Outcome};

/// One shard and what it is computed with.
pub(super) struct Shard<'a> {
    pub(super) plan: &'a ForwardPlan,
    pub(super) batches: Range<u32>,
    /// Indices into the plan's cells.
    pub(super) cells: &'a [u16],
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    pub(super) progress: &'a Progress,
}

/// The cells of a shard, resolved.
pub(super) struct Columns<'a> {
    pub(super) trajectory: &'a Trajectory,
    pub(super) cells: Vec<&'a Cell>,
    numbers: &'a [u16],
}

impl<'a> Columns<'a> {
    /// The cells that `shard` names.
    ///
    /// # Errors
    /// When there is none, or they are of several trajectories.
    pub(super) fn of(shard: &Shard<'a>) -> Result<Self, JobError> {
        let plan = shard.plan;
        let bad = |message: &str| JobError::text(ErrorClass::BadInput, message);
        let cells = shard
            .cells
            .iter()
            .map(|cell| plan.cell(usize::from(*cell)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad_plan)?;
        let first = cells.first().ok_or_else(|| bad("a shard without cells"))?;
        if cells.iter().any(|cell| cell.trajectory != first.trajectory) {
            return Err(bad("a shard's cells must share one trajectory"));
        }
        Ok(Self {
            trajectory: plan.trajectory(first).map_err(bad_plan)?,
            cells,
            numbers: shard.cells,
        })
    }
}

/// What one batch yields.
pub(super) struct Computed {
    /// The records of the shard's cells, in their order.
    pub(super) records: Vec<Record>,
    /// Network evaluations, those of padding included.
    pub(super) evaluations: u64,
}

/// Runs every batch of a shard through `compute`, which returns `None` when it was asked to stop. Nothing of the shard
/// counts before all of it is stored. `with_truth` reads the masks of the slices too.
pub(super) fn run(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    with_truth: bool,
    fake: Option<&mut FakeDevice>,
    compute: &mut dyn FnMut(usize, &Batch) -> Result<Option<Computed>, JobError>,
) -> Result<Outcome, JobError> {
    let reader = BatchReader::new(shard.slices);
    let range = shard.batches.clone();
    read_ahead(&reader, shard.plan, range, with_truth, |batches| {
        each(shard, columns, batches, fake, compute)
    })
}

fn each(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    mut batches: BatchesAhead,
    mut fake: Option<&mut FakeDevice>,
    compute: &mut dyn FnMut(usize, &Batch) -> Result<Option<Computed>, JobError>,
) -> Result<Outcome, JobError> {
    let mut result = JobResult {
        entries: Vec::new(),
        evaluations: 0,
        padding: 0,
    };
    for index in shard.batches.clone() {
        let index = index as usize;
        let batch = batches.next_batch()?;
        let faults = match &mut fake {
            Some(fake) => Some(
                fake.begin_batch()
                    .map_err(|error| JobError::new(ErrorClass::Transient, &error))?,
            ),
            None => None,
        };
        let Some(done) = compute(index, &batch)? else {
            return Ok(Outcome::Stopped);
        };
        for (number, mut record) in columns.numbers.iter().zip(done.records) {
            if let Some(faults) = faults {
                faults.corrupt(&mut record);
            }
            let key = shard
                .plan
                .record_key(index, usize::from(*number))
                .map_err(bad_plan)?;
            result.entries.push((key, put(shard.artifacts, &record)?));
            shard.progress.tick();
        }
        let each = done.evaluations / batch.identities.len() as u64;
        result.evaluations += each * batch.slices as u64;
        result.padding += each * (batch.identities.len() - batch.slices) as u64;
    }
    Ok(Outcome::Done(result))
}

pub(super) fn bad_plan(error: PlanError) -> JobError {
    JobError::new(ErrorClass::BadInput, &error)
}

/// A numeric failure, with the slice named.
pub(super) fn forward_error(plan: &ForwardPlan, batch: usize, error: &ForwardError) -> JobError {
    let mut failure = JobError::new(ErrorClass::BadInput, error);
    if let ForwardError::NotFinite(what) = error
        && let Ok(slices) = plan.batch(batch)
        && let Some(slice) = usize::try_from(what.slice)
            .ok()
            .and_then(|slice| slices.get(slice).or(slices.last()))
        && let Ok(subject) = plan.subject(*slice)
    {
        failure.message = format!(
            "subject {subject}, slice {}: {}",
            slice.position, failure.message
        );
    }
    failure
}
