//! One shard of a forward plan: some of its batches, for some of its cells.

use std::ops::Range;

use anofpdm_common::plan::{Cell, ForwardPlan, PlanError, Trajectory, Wanted};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;

use crate::method_error::MethodError;

use super::job_error::JobError;
use super::lease_renewal::JobProgress;
use super::worker_metrics::BatchMetrics;

/// One shard and what it is computed with.
pub(super) struct Shard<'a> {
    pub(super) plan: &'a ForwardPlan,
    pub(super) batches: Range<u32>,
    /// Indices into the plan's cells.
    pub(super) cells: &'a [u16],
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    pub(super) progress: &'a JobProgress,
    pub(super) metrics: &'a BatchMetrics,
}

impl Shard<'_> {
    /// What is kept of each slice of a batch to be looked at.
    pub(super) fn wanted(&self, batch: usize) -> Result<Vec<Wanted>, JobError> {
        let slices = self.plan.batch(batch).map_err(bad_plan)?.iter();
        let exhibits = &self.plan.exhibits;
        Ok(slices.map(|slice| exhibits.of(*slice)).collect())
    }
}

/// The cells of a shard, which are all of one trajectory.
pub(super) struct ShardCells<'a> {
    pub(super) trajectory: &'a Trajectory,
    pub(super) cells: Vec<&'a Cell>,
}

impl<'a> ShardCells<'a> {
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
        })
    }
}

/// The failure of a plan that contradicts itself.
pub(super) fn bad_plan(error: PlanError) -> JobError {
    JobError::new(ErrorClass::BadInput, &error)
}

/// A numeric failure, with the slice named.
pub(super) fn forward_error(plan: &ForwardPlan, batch: usize, error: &MethodError) -> JobError {
    let mut failure = JobError::new(ErrorClass::BadInput, error);
    if let MethodError::NotFinite(what) = error
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
