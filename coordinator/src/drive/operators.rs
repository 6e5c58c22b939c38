//! What operators ask of the run, obeyed, and what they are shown: [`Control`] and [`Live`] at the engine's beat.

use std::collections::BTreeSet;

use anofpdm_common::queue::{Dispatch, QueueError};
use anofpdm_common::work::Stage;

use super::control::{Cancelled, Control, DeadShards, Order};
use super::engine::EngineError;
use super::fleet::{Fleet, is_away};
use super::flight::Flight;
use super::live::{Done, Live, Moment, Work};
use crate::ledger::Ledger;

/// Both ends towards operators.
#[derive(Debug)]
pub(super) struct Operators {
    control: Control,
    live: Live,
    at: Option<(Stage, Done)>,
}

impl Operators {
    pub(super) const fn new(control: Control, live: Live) -> Self {
        Self {
            control,
            live,
            at: None,
        }
    }

    /// How far a stage is.
    pub(super) const fn at(&mut self, stage: Stage, done: Done) {
        self.at = Some((stage, done));
    }

    /// The same as operators last saw it, with rate and time left.
    pub(super) fn work(&self) -> Option<&Work> {
        self.live.at_work()
    }

    /// Obeys what was asked, and shows what is.
    ///
    /// # Errors
    /// [`Cancelled`], with every open shard taken out; when the queue fails.
    pub(super) fn attend(
        &mut self,
        fleet: &mut Fleet,
        flight: &Flight,
        dead: &mut BTreeSet<u64>,
        ledger: &Ledger,
    ) -> Result<(), EngineError> {
        let mut cancelled = false;
        for order in self.control.poll() {
            match order {
                Order::Pause => fleet.queue.set_paused(true)?,
                Order::Resume => fleet.queue.set_paused(false)?,
                Order::Retry(shards) => retry(&shards, fleet, dead)?,
                Order::Cancel => cancelled = true,
            }
        }
        if cancelled {
            for shard in flight.numbers() {
                bear_absence(fleet.queue.cancel(shard))?;
            }
            return Err(Cancelled.into());
        }
        self.show(fleet, flight, ledger, Live::update)?;
        Ok(())
    }

    /// Shows what is, before it ends.
    ///
    /// # Errors
    /// When the queue fails.
    pub(super) fn show_last(
        &mut self,
        fleet: &Fleet,
        flight: &Flight,
        ledger: &Ledger,
    ) -> Result<(), QueueError> {
        self.show(fleet, flight, ledger, Live::update_now)
    }

    fn show(
        &mut self,
        fleet: &Fleet,
        flight: &Flight,
        ledger: &Ledger,
        update: impl FnOnce(&mut Live, &dyn Dispatch, &Moment<'_>) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let moment = Moment {
            stage: self.at.map(|(stage, _)| stage),
            work: self.at.map(|(_, done)| done),
            paused: self.control.paused(),
            queue: fleet.address(),
            ledger,
            job: &|shard| flight.job(shard).cloned(),
        };
        update(&mut self.live, fleet.queue.as_ref(), &moment)
    }

    /// The writer, for the last word.
    pub(super) fn into_live(self) -> Live {
        self.live
    }
}

/// Offers dead shards again. They count as given up no more.
fn retry(
    shards: &DeadShards,
    fleet: &mut Fleet,
    dead: &mut BTreeSet<u64>,
) -> Result<(), QueueError> {
    for letter in fleet.queue.dead_letters()? {
        if shards.names(letter.shard) && bear_absence(fleet.queue.revive(letter.shard))? {
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
