//! What operators ask of the run, obeyed, and what they are shown: [`ControlFiles`] and [`StatusFile`] at the engine's beat.

pub mod control_files;
pub(super) mod progress;
mod rate;
pub mod snapshot;
pub mod status_file;

use std::collections::BTreeSet;

use anofpdm_common::queue::{Dispatch, QueueError};
use anofpdm_common::work::Stage;

use super::error::SchedulerError;
use super::shard_tracker::ShardTracker;
use super::workers::pool::{WorkerPool, is_away};
use crate::ledger::Ledger;
use control_files::{Cancelled, ControlFiles, DeadShards, Order};
use snapshot::Work;
use status_file::{Done, Moment, StatusFile};

/// Both ends towards operators.
#[derive(Debug)]
pub(in crate::run) struct Operators {
    control: ControlFiles,
    live: StatusFile,
    at: Option<(Stage, Done)>,
}

impl Operators {
    pub(in crate::run) const fn new(control: ControlFiles, live: StatusFile) -> Self {
        Self {
            control,
            live,
            at: None,
        }
    }

    /// How far a stage is.
    pub(in crate::run) const fn at(&mut self, stage: Stage, done: Done) {
        self.at = Some((stage, done));
    }

    /// The same as operators last saw it, with rate and time left.
    pub(in crate::run) fn work(&self) -> Option<&Work> {
        self.live.at_work()
    }

    /// Obeys what was asked, and shows what is.
    ///
    /// # Errors
    /// [`Cancelled`], with every open shard taken out; when the queue fails.
    pub(in crate::run) fn attend(
        &mut self,
        pool: &mut WorkerPool,
        tracker: &ShardTracker,
        dead: &mut BTreeSet<u64>,
        ledger: &Ledger,
    ) -> Result<(), SchedulerError> {
        let mut cancelled = false;
        for order in self.control.poll() {
            match order {
                Order::Pause => pool.queue.set_paused(true)?,
                Order::Resume => pool.queue.set_paused(false)?,
                Order::Retry(shards) => retry(&shards, pool, dead)?,
                Order::Cancel => cancelled = true,
            }
        }
        if cancelled {
            for shard in tracker.numbers() {
                bear_absence(pool.queue.cancel(shard))?;
            }
            return Err(Cancelled.into());
        }
        self.show(pool, tracker, ledger, StatusFile::update)?;
        Ok(())
    }

    /// Shows what is, before it ends.
    ///
    /// # Errors
    /// When the queue fails.
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
        update: impl FnOnce(&mut StatusFile, &dyn Dispatch, &Moment<'_>) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let moment = Moment {
            stage: self.at.map(|(stage, _)| stage),
            work: self.at.map(|(_, done)| done),
            paused: self.control.paused(),
            queue: pool.address(),
            ledger,
            job: &|shard| tracker.job(shard).cloned(),
        };
        update(&mut self.live, pool.queue.as_ref(), &moment)
    }

    /// The writer, for the last word.
    pub(in crate::run) fn into_live(self) -> StatusFile {
        self.live
    }
}

/// Offers dead shards again. They count as given up no more.
fn retry(
    shards: &DeadShards,
    pool: &mut WorkerPool,
    dead: &mut BTreeSet<u64>,
) -> Result<(), QueueError> {
    for letter in pool.queue.dead_letters()? {
        if shards.names(letter.shard) && bear_absence(pool.queue.revive(letter.shard))? {
            dead.remove(&letter.shard);
        }
    }
    Ok(())
}

/// What a queue that is away was not told is not done.
fn bear_absence(answer: Result<bool, QueueError>) -> Result<bool, QueueError> {
    match answer {
        Err(error) if is_away(&error) => {
            tracing::warn!(%error, "the queue is away: ask again when it is back");
            Ok(false)
        }
        answer => answer,
    }
}
