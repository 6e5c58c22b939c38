//! What the queue holds for workers to take, and how far they are with it.

use std::collections::BTreeMap;
use std::time::Duration;

use anofpdm_common::plan::{PlanError, Task};

use super::Scheduler;
use crate::run::active_plan::ActiveForward;
use crate::run::error::SchedulerError;
use crate::run::shard_source::{Pace, ShardSource};
use crate::run::shard_tracker::Purpose;

/// The queue holds work for this long for each worker, so that none waits while the coordinator is restarted.
const STOCK: Duration = Duration::from_secs(120);

/// Shards for each worker that the queue holds at least, and shards that it holds at most.
const LEAST_STOCK: u64 = 4;
const MOST_STOCK: u64 = 1_024;

impl Scheduler {
    /// Gives out what the queue should hold.
    pub(super) fn fill(&mut self, source: &mut ShardSource<'_>) -> Result<(), SchedulerError> {
        let workers = self.pool.workers().len().max(self.pool.own_workers());
        let pace = Pace {
            workers,
            evaluation: self.tracker.evaluation(),
        };
        let counts = self.pool.queue()?.counts()?;
        let mut stock = counts.queued + counts.retrying;
        let mut time = Duration::ZERO;
        let least = LEAST_STOCK * workers.max(1) as u64;
        let enough = STOCK.saturating_mul(u32::try_from(workers.max(1)).unwrap_or(u32::MAX));
        let mut submissions = Vec::new();
        while stock < least || (stock < MOST_STOCK && time < enough && pace.evaluation.is_some()) {
            let Some(job) = source.cut(pace)? else {
                break;
            };
            let evaluations = self.evaluations(&job)?;
            if let Some(evaluation) = pace.evaluation {
                time = time.saturating_add(evaluation.saturating_mul(evaluations));
            }
            stock += 1;
            submissions.push(self.tracker.register(job, Purpose::Work, evaluations));
        }
        if !submissions.is_empty() {
            self.pool.queue()?.submit(submissions)?;
        }
        Ok(())
    }

    /// Records that are computed and not delivered, by the word of the workers that hold their shards. Nothing is
    /// decided by it.
    pub(super) fn under_way(&self, active: &ActiveForward) -> Result<f64, PlanError> {
        let mut shards: BTreeMap<u64, f64> = BTreeMap::new();
        let leases = self.pool.workers().iter().flat_map(|worker| &worker.leases);
        for lease in leases {
            let number = lease.lease.shard;
            let original = match self.tracker.purpose(number) {
                Some(Purpose::Work) => number,
                // Of two that do the same, the one that is further counts.
                Some(Purpose::Copy(original)) => original,
                // Of these the records are there, or are contested.
                Some(Purpose::Audit | Purpose::Opinion) | None => continue,
            };
            if let Some(Task::Batches(run)) = self.tracker.job(number).map(|job| &job.task) {
                let expected = run.ticks(&active.plan)?;
                let records = run.parts().count();
                let furthest = shards.entry(original).or_default();
                *furthest = furthest.max(computed(lease.progress.ticks, expected, records));
            }
        }
        Ok(shards.values().sum())
    }
}

/// Records of a shard that are computed once a worker has counted so many of the ticks expected of it; not all of them
/// before they are delivered.
#[allow(clippy::cast_precision_loss)]
fn computed(ticks: u64, expected: u64, records: usize) -> f64 {
    /// What storing and delivering takes of the rest.
    const MOST: f64 = 0.99;
    let share = ticks as f64 / expected.max(1) as f64;
    share.min(MOST) * records as f64
}
