//! What operators ask of the run and what they are shown: [`ControlFiles`] and [`StatusFile`].

pub mod control_files;
pub(super) mod progress;
mod rate;
pub mod run_metrics;
pub mod snapshot;
pub mod status_file;

use std::collections::BTreeSet;
use std::time::Instant;

use anofpdm_common::plan::Stage;
use anofpdm_common::queue::{Dispatch, QueueError};

use super::error::SchedulerError;
use super::shard_tracker::ShardTracker;
use super::workers::pool::{WorkerPool, if_reachable};
use crate::ledger::Ledger;
use control_files::{Cancelled, ControlFiles, DeadShards, Order};
use run_metrics::RunMetrics;
use snapshot::Work;
use status_file::{Done, Moment, StatusFile};

#[derive(Debug)]
pub(in crate::run) struct Operators {
    control: ControlFiles,
    status: StatusFile,
    metrics: RunMetrics,
    at: Option<(Stage, Done)>,
}

impl Operators {
    pub(in crate::run) const fn new(
        control: ControlFiles,
        status: StatusFile,
        metrics: RunMetrics,
    ) -> Self {
        Self {
            control,
            status,
            metrics,
            at: None,
        }
    }

    pub(in crate::run) const fn at(&mut self, stage: Stage, done: Done) {
        self.at = Some((stage, done));
    }

    /// The same as operators last saw it, with rate and time left.
    pub(in crate::run) fn work(&self) -> Option<&Work> {
        self.status.at_work()
    }

    /// Does what was asked for, and shows how far the run is.
    ///
    /// # Errors
    /// [`Cancelled`], with every open shard taken out; when the queue fails.
    pub(in crate::run) fn serve(
        &mut self,
        pool: &mut WorkerPool,
        tracker: &ShardTracker,
        given_up: &mut BTreeSet<u64>,
        ledger: &Ledger,
    ) -> Result<(), SchedulerError> {
        let queue = pool.queue()?;
        let mut cancelled = false;
        for order in self.control.poll() {
            match order {
                Order::Pause => queue.set_paused(true)?,
                Order::Resume => queue.set_paused(false)?,
                Order::Retry(shards) => retry(&shards, queue, given_up)?,
                Order::Cancel => cancelled = true,
            }
        }
        if cancelled {
            for shard in tracker.numbers() {
                done_if_reachable(queue.cancel(shard))?;
            }
            return Err(Cancelled.into());
        }
        self.show(pool, tracker, ledger, StatusFile::update)?;
        Ok(())
    }

    /// Shows how far the run is, before it ends.
    pub(in crate::run) fn show_last(
        &mut self,
        pool: &WorkerPool,
        tracker: &ShardTracker,
        ledger: &Ledger,
    ) -> Result<(), QueueError> {
        self.show(pool, tracker, ledger, StatusFile::update_now)
    }

    fn show(
        &mut self,
        pool: &WorkerPool,
        tracker: &ShardTracker,
        ledger: &Ledger,
        update: impl FnOnce(&mut StatusFile, &dyn Dispatch, &Moment<'_>) -> Result<bool, QueueError>,
    ) -> Result<(), QueueError> {
        self.metrics.turned();
        let Some((queue, address)) = pool.view() else {
            return Ok(());
        };
        let moment = Moment {
            stage: self.at.map(|(stage, _)| stage),
            work: self.at.map(|(_, done)| done),
            paused: self.control.paused(),
            queue: address,
            ledger,
            job: &|shard| tracker.job(shard).cloned(),
        };
        if update(&mut self.status, queue, &moment)? {
            let oldest = tracker.oldest(Instant::now());
            self.metrics.show(self.status.shown(), oldest, pool.lease());
        }
        Ok(())
    }

    /// The writer, for the last word.
    pub(in crate::run) fn into_status_file(self) -> StatusFile {
        self.status
    }
}

/// Offers dead shards again. They count as given up no more.
fn retry(
    shards: &DeadShards,
    queue: &mut dyn Dispatch,
    given_up: &mut BTreeSet<u64>,
) -> Result<(), QueueError> {
    for letter in queue.dead_letters()? {
        if shards.names(letter.shard) && done_if_reachable(queue.revive(letter.shard))? {
            given_up.remove(&letter.shard);
        }
    }
    Ok(())
}

/// What a queue that is away was not told is not done.
fn done_if_reachable(answer: Result<bool, QueueError>) -> Result<bool, QueueError> {
    Ok(if_reachable(answer)?.unwrap_or_else(|| {
        tracing::warn!("the queue is away: ask again when it is back");
        false
    }))
}
