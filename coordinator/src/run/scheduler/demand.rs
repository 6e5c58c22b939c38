//! How many workers the work left has use for: what a fleet is scaled by.
//!
//! The depth of the queue says nothing here: it is kept at a few shards for each worker that is there, whatever is left.

use std::time::Duration;

use super::Scheduler;
use crate::run::shard_source::ShardSource;

/// So much device time is worth starting a worker for.
const WORTH_A_WORKER: Duration = Duration::from_secs(600);

impl Scheduler {
    /// Tells the demand of the stage at work.
    pub(super) fn tell_demand(&self, source: &ShardSource<'_>) {
        let (batches, to_come) = source.left();
        let (under_way, shards) = self.tracker.left();
        let evaluations = to_come + under_way;
        let demand = demand(evaluations, batches + shards, self.tracker.evaluation());
        self.metrics.workers_wanted(demand);
    }
}

/// Workers for so many network evaluations in so many pieces; `evaluation` is the time of one, once measured.
fn demand(evaluations: u64, pieces: u64, evaluation: Option<Duration>) -> u64 {
    if pieces == 0 {
        return 0;
    }
    // Nobody knows yet how much work it is: one worker finds out.
    let Some(evaluation) = evaluation else {
        return 1;
    };
    #[allow(clippy::cast_precision_loss)]
    let seconds = evaluation.as_secs_f64() * evaluations as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let workers = (seconds / WORTH_A_WORKER.as_secs_f64()).ceil() as u64;
    workers.clamp(1, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_the_work_left_and_not_the_workers_there() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(demand(0, 0, second), 0);
        assert_eq!(demand(1_000_000, 500, None), 1);
        assert_eq!(demand(10, 3, second), 1);
        assert_eq!(demand(6_000, 50, second), 10);
        assert_eq!(demand(6_001, 50, second), 11);
        // A worker without a piece of its own is of no use.
        assert_eq!(demand(600_000, 50, second), 50);
    }
}
