//! The ranks that train one network together, and when they start again.
//!
//! A generation is one attempt: as many ranks as workers are there, each a shard of its own. When a rank is lost, the
//! others cannot go on: the generation is called off, and the next one goes on from the last checkpoint with whatever
//! world size is there then. Ranks find each other by notes in the queue, under the number of their generation.
//!
//! A training that is never shared (`devices = 1`) is an ordinary shard: the queue itself offers it again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anofpdm_common::backoff::Backoff;
use anofpdm_common::ids::Digest;
use anofpdm_common::instance::unix_millis;
use anofpdm_common::plan::{GangRank, Job, Stage, Task};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::Devices;

use crate::run::shard_event::Ending;
use crate::run::warn_once::WarnOnce;

/// How long a gang that could start waits for more workers.
const GATHERING: Duration = Duration::from_secs(10);

/// How long it waits for enough of them before it warns, and how long until it warns again.
const PATIENCE: Duration = Duration::from_secs(10);
const WARN_AGAIN: Duration = Duration::from_secs(300);

/// So many generations in a row that fail without a new checkpoint are enough.
const MAX_FRUITLESS: u32 = 6;

/// Pause before the generation that follows a reported error; doubled each time.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// Trying again is pointless, for this reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::run) struct GivenUp(pub(in crate::run) String);

/// One training and its present generation.
#[derive(Debug)]
pub(in crate::run) struct Gang {
    plan: Digest,
    devices: Devices,
    generation: u64,
    world: u32,
    /// Shards of the present generation; none between two.
    shards: BTreeSet<u64>,
    broken: bool,
    /// Why, as far as anybody said.
    cause: Option<Ending>,
    fruitless: u32,
    /// The newest checkpoint when it began.
    reached: Option<String>,
    not_before: Option<Instant>,
    /// Since when it could start, if not with all it may have.
    enough_since: Option<Instant>,
    too_few: WarnOnce,
}

impl Gang {
    /// Training of `plan`, whose newest checkpoint is `reached`.
    pub(in crate::run) fn new(plan: Digest, devices: Devices, reached: Option<String>) -> Self {
        Self {
            plan,
            devices,
            generation: 0,
            world: 0,
            shards: BTreeSet::new(),
            broken: false,
            cause: None,
            fruitless: 0,
            reached,
            not_before: None,
            enough_since: None,
            too_few: WarnOnce::after(PATIENCE, WARN_AGAIN),
        }
    }

    /// True for a training whose shard the queue itself offers again.
    pub(in crate::run) fn is_solo(&self) -> bool {
        self.devices.max() == 1
    }

    /// True while a generation is under way.
    pub(in crate::run) fn is_formed(&self) -> bool {
        !self.shards.is_empty()
    }

    pub(in crate::run) const fn shards(&self) -> &BTreeSet<u64> {
        &self.shards
    }

    /// True once a rank of the present generation is lost: the others are to be called off.
    pub(in crate::run) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Goes on with the newest generation of an earlier coordinator, if all of its ranks are still there, and says
    /// which shards those are.
    pub(in crate::run) fn adopt(&mut self, inherited: &[(u64, Job)]) -> BTreeSet<u64> {
        let ranks: Vec<(u64, GangRank)> = inherited
            .iter()
            .filter(|(_, job)| job.plan == self.plan)
            .filter_map(|(shard, job)| match job.task {
                Task::Train(gang) => Some((*shard, gang)),
                Task::Batches(_) | Task::Trial => None,
            })
            .collect();
        let Some(newest) = ranks.iter().map(|(_, gang)| gang.generation).max() else {
            return BTreeSet::new();
        };
        self.generation = newest;
        let present = ranks.iter().filter(|(_, gang)| gang.generation == newest);
        let world = present.clone().map(|(_, gang)| gang.world).max();
        let numbers: BTreeSet<u32> = present.clone().map(|(_, gang)| gang.rank).collect();
        let shards: BTreeSet<u64> = present.map(|(shard, _)| *shard).collect();
        let whole = world.is_some_and(|world| numbers.len() == world as usize);
        if !whole || shards.len() != numbers.len() {
            return BTreeSet::new();
        }
        self.world = world.unwrap_or(0);
        self.shards = shards.clone();
        shards
    }

    /// With how many ranks a generation is to start now, when so many workers are there; `None` while it waits.
    ///
    /// Of the workers, this coordinator starts `own` itself: it is sure that they come and waits for them, however long
    /// they take, so that the same run on the same machine has the same number of ranks, and so the same bits.
    pub(in crate::run) fn world_for(
        &mut self,
        workers: usize,
        own: usize,
        now: Instant,
    ) -> Option<u32> {
        if self.is_formed() || self.not_before.is_some_and(|start| now < start) {
            return None;
        }
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (there, own) = (number(workers), number(own));
        let max = self.devices.max();
        let min = self.devices.min().max(own.min(max));
        // A shard alone waits in the queue for its worker.
        if self.is_solo() {
            return Some(1);
        }
        if there >= max {
            return Some(max);
        }
        if there < min {
            self.enough_since = None;
            if self.too_few.is_due(now) {
                let cure = if own >= min {
                    "this run starts them and waits until they are there"
                } else {
                    "start more, or lower devices"
                };
                tracing::warn!(
                    workers = there,
                    "training waits for {min} workers (devices = {}); {cure}",
                    self.devices
                );
            }
            return None;
        }
        let since = self.enough_since.get_or_insert(now);
        (now - *since >= GATHERING).then_some(there)
    }

    /// The jobs of the next generation, rank by rank.
    pub(in crate::run) fn form(&mut self, world: u32) -> Vec<Job> {
        // From the clock, so that none repeats even when queue and coordinator have forgotten everything.
        self.generation = unix_millis().max(self.generation + 1);
        self.world = world;
        self.broken = false;
        self.cause = None;
        self.enough_since = None;
        self.too_few.reset();
        (0..world)
            .map(|rank| Job {
                stage: Stage::Train,
                plan: self.plan,
                task: Task::Train(GangRank {
                    generation: self.generation,
                    rank,
                    world,
                }),
            })
            .collect()
    }

    pub(in crate::run) fn formed(&mut self, shards: BTreeSet<u64>) {
        if !self.is_solo() {
            tracing::info!(
                generation = self.generation,
                "training with {} of {} devices",
                self.world,
                self.devices
            );
        }
        self.shards = shards;
    }

    /// A lease ended without a result.
    pub(in crate::run) fn note(&mut self, shard: u64, how: Ending) {
        if self.is_solo() || !self.shards.contains(&shard) {
            return;
        }
        self.broken = true;
        // What follows the first loss is its consequence; a hand-back says nothing.
        let says_nothing = matches!(self.cause, None | Some(Ending::HandedBack));
        if says_nothing || is_out_of_memory(&how) {
            self.cause = Some(how);
        }
    }

    /// The present generation is over; `newest` is the newest checkpoint now.
    pub(in crate::run) fn end(
        &mut self,
        newest: Option<String>,
        now: Instant,
    ) -> Result<(), GivenUp> {
        self.shards.clear();
        self.broken = false;
        let further = newest > self.reached;
        // The next attempt would take as much memory: somebody has to ask for less.
        if let Some(Ending::Failed {
            class: ErrorClass::OutOfMemory,
            message,
        }) = &self.cause
        {
            return Err(GivenUp(message.clone()));
        }
        self.reached = newest;
        let cause = self.cause.take();
        if further {
            self.fruitless = 0;
        }
        match &cause {
            Some(Ending::Failed { .. } | Ending::Died { .. }) if !further => self.fruitless += 1,
            _ => {}
        }
        let words = match &cause {
            Some(Ending::Failed { class, message }) => format!("{class:?}: {message}"),
            Some(Ending::Died { .. }) => {
                "a worker died or was silent for too long; look into the workers' logs".to_owned()
            }
            Some(Ending::HandedBack) | None => "a worker left".to_owned(),
        };
        if self.fruitless >= MAX_FRUITLESS {
            return Err(GivenUp(format!(
                "{MAX_FRUITLESS} attempts in a row ended before a new checkpoint (checkpoint_every); the last: {words}"
            )));
        }
        if matches!(cause, Some(Ending::Failed { .. })) {
            self.not_before = Some(now + BACKOFF.ceiling(self.fruitless + 1));
        }
        tracing::warn!(
            generation = self.generation,
            "a rank of the training is lost ({}); it starts again from {}",
            first_line(&words),
            self.reached.as_deref().unwrap_or("its beginning")
        );
        Ok(())
    }
}

const fn is_out_of_memory(how: &Ending) -> bool {
    matches!(
        how,
        Ending::Failed {
            class: ErrorClass::OutOfMemory,
            ..
        }
    )
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
