//! An engine at work: serves workers, gives out shards, buries what failed for good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anofpdm_common::queue::lease::Failure;
use anofpdm_common::queue::{DeadLetter, Lane, Submission};
use anofpdm_common::work::{ForwardPlan, Job, PlanError, Task};

use crate::run::error::SchedulerError;
use crate::run::operators::Operators;
use crate::run::result_committer::{Ending, ResultCommitter, ShardEvent};
use crate::run::shard_source::{Pace, ShardSource};
use crate::run::shard_tracker::{Places, Purpose, ShardTracker};
use crate::run::signals::Interrupt;
use crate::run::verification::forward_cost;
use crate::run::workers::pool::{WorkerPool, is_away};

/// Longest time between two looks at workers, signals and progress.
const BEAT: Duration = Duration::from_millis(200);

/// How often stragglers are looked for.
const STRAGGLERS_EVERY: Duration = Duration::from_secs(1);

/// The queue holds work for this long for each worker, so that none waits while the coordinator is restarted.
const STOCK: Duration = Duration::from_secs(120);

/// Shards for each worker that the queue holds at least, and shards that it holds at most.
const LEAST_STOCK: u64 = 4;
const MOST_STOCK: u64 = 1_024;

/// So many shards given up are enough to see that going on is pointless.
const MAX_DEAD: usize = 16;

/// What a dead shard means to the stage it belongs to.
pub(super) enum OnDeath {
    /// The stage fails.
    GiveUp,
    /// Try again.
    Revive,
}

/// An engine with its queue open.
pub(super) struct Parts<'a> {
    pub(super) pool: &'a mut WorkerPool,
    pub(super) judge: &'a mut ResultCommitter,
    pub(super) tracker: &'a mut ShardTracker,
    pub(super) interrupt: &'a Interrupt,
    pub(super) retiring: &'a mut Vec<(String, String)>,
    pub(super) dead: &'a mut BTreeSet<u64>,
    pub(super) endings: &'a mut Vec<(u64, Ending)>,
    pub(super) stragglers_looked: &'a mut Instant,
    pub(super) operators: &'a mut Operators,
}

impl Parts<'_> {
    /// Serves workers for a moment and draws the consequences of what happened. True when something did.
    pub(super) fn beat(&mut self, places: &Places) -> Result<bool, SchedulerError> {
        self.attend()?;
        self.pool.beat(self.judge, BEAT)?;
        if let Some(failure) = self.judge.failure.take() {
            return Err(failure.into());
        }
        let events = std::mem::take(&mut self.judge.events);
        let any = !events.is_empty();
        let workers = self.pool.workers().to_vec();
        for event in events {
            if let ShardEvent::Distrusted { worker, reason } = event {
                self.retiring.push((worker, reason));
                continue;
            }
            if let ShardEvent::Ended { lease, how } = &event
                && self.judge.current.is_training()
            {
                self.endings.push((lease.shard, how.clone()));
            }
            let queue = self.pool.queue.as_mut();
            self.tracker
                .follow(event, self.judge, queue, &workers, places)?;
        }
        let queue = self.pool.queue.as_mut();
        self.tracker
            .ask_newcomers(self.judge, queue, &workers, places)?;
        self.retire()?;
        self.interrupt.check()?;
        Ok(any)
    }

    /// Obeys and informs operators.
    pub(super) fn attend(&mut self) -> Result<(), SchedulerError> {
        let ledger = self.judge.journal.ledger();
        self.operators
            .attend(self.pool, self.tracker, self.dead, ledger)
    }

    pub(super) fn retire(&mut self) -> Result<(), SchedulerError> {
        while let Some((worker, reason)) = self.retiring.pop() {
            match self.pool.queue.retire(&worker, &reason) {
                Ok(()) => {}
                Err(error) if is_away(&error) => {
                    self.retiring.push((worker, reason));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives out what the queue should hold.
    pub(super) fn fill(
        &mut self,
        feed: &mut ShardSource<'_>,
        plan: &ForwardPlan,
    ) -> Result<(), SchedulerError> {
        let workers = self.pool.workers().len().max(self.pool.own_workers());
        let pace = Pace {
            workers,
            evaluation: self.tracker.evaluation(),
        };
        let counts = self.pool.queue.counts()?;
        let mut stock = counts.queued + counts.retrying;
        let mut time = Duration::ZERO;
        let least = LEAST_STOCK * workers.max(1) as u64;
        let enough = STOCK.saturating_mul(u32::try_from(workers.max(1)).unwrap_or(u32::MAX));
        let mut submissions = Vec::new();
        while stock < least || (stock < MOST_STOCK && time < enough && pace.evaluation.is_some()) {
            let Some(job) = feed.cut(pace)? else {
                break;
            };
            let evaluations = cost(plan, &job)?;
            if let Some(evaluation) = pace.evaluation {
                time = time.saturating_add(evaluation.saturating_mul(evaluations));
            }
            stock += 1;
            let shard = self
                .tracker
                .register(job.clone(), Purpose::Work, evaluations);
            submissions.push(Submission {
                shard,
                job,
                lane: Lane::Normal,
                avoid: Vec::new(),
            });
        }
        if !submissions.is_empty() {
            self.pool.queue.submit(submissions)?;
        }
        Ok(())
    }

    /// Records that are computed and not delivered, by the word of the workers that hold their shards. Nothing is
    /// decided by it.
    pub(super) fn under_way(&self, plan: &ForwardPlan) -> Result<f64, PlanError> {
        let mut shards: BTreeMap<u64, f64> = BTreeMap::new();
        for lease in self.pool.workers().iter().flat_map(|worker| &worker.leases) {
            let number = lease.lease.shard;
            let original = match self.tracker.purpose(number) {
                Some(Purpose::Work) => number,
                // Of two that do the same, the one that is further counts.
                Some(Purpose::Copy(original)) => original,
                // Of these the records are there, or are contested.
                Some(Purpose::Audit | Purpose::Opinion) | None => continue,
            };
            if let Some(job) = self.tracker.job(number) {
                let computed = computed(plan, job, lease.progress.ticks)?;
                let furthest = shards.entry(original).or_default();
                *furthest = furthest.max(computed);
            }
        }
        Ok(shards.values().sum())
    }

    pub(super) fn look_for_stragglers(&mut self) -> Result<(), SchedulerError> {
        if self.stragglers_looked.elapsed() >= STRAGGLERS_EVERY {
            *self.stragglers_looked = Instant::now();
            let workers = self.pool.workers().to_vec();
            self.tracker
                .copy_stragglers(self.pool.queue.as_mut(), &workers)?;
        }
        Ok(())
    }

    /// Decides about shards that are out of attempts. The others go on.
    pub(super) fn bury(
        &mut self,
        on_death: &mut dyn FnMut(&DeadLetter) -> OnDeath,
    ) -> Result<(), SchedulerError> {
        for letter in self.pool.queue.dead_letters()? {
            if self.dead.contains(&letter.shard) {
                continue;
            }
            match self.tracker.purpose(letter.shard) {
                Some(Purpose::Work | Purpose::Opinion) => match on_death(&letter) {
                    OnDeath::Revive => self.revive(letter.shard)?,
                    OnDeath::GiveUp => {
                        tracing::error!(
                            shard = letter.shard,
                            worker = letter.worker,
                            error = message(&letter),
                            "a shard is given up; the others go on"
                        );
                        self.dead.insert(letter.shard);
                    }
                },
                Some(Purpose::Audit | Purpose::Copy(_)) => {
                    tracing::warn!(
                        shard = letter.shard,
                        error = message(&letter),
                        "a second run of a shard failed; the run does without it"
                    );
                    self.tracker.forget(letter.shard);
                }
                None => {}
            }
        }
        if self.dead.len() >= MAX_DEAD {
            return Err(self.dead_error()?);
        }
        Ok(())
    }

    pub(super) fn revive(&mut self, shard: u64) -> Result<(), SchedulerError> {
        match self.pool.queue.revive(shard) {
            Ok(_) => Ok(()),
            // It is dead at the next look too.
            Err(error) if is_away(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The error for the shards that were given up.
    pub(super) fn dead_error(&self) -> Result<SchedulerError, SchedulerError> {
        let letters = self.pool.queue.dead_letters()?;
        let first = letters
            .iter()
            .find(|letter| self.dead.contains(&letter.shard));
        Ok(SchedulerError::Dead {
            shards: self.dead.len(),
            message: first.map_or_else(String::new, message),
        })
    }
}

/// A failure in words.
fn message(letter: &DeadLetter) -> String {
    match &letter.failure {
        Failure::Error { class, message } => format!("{class:?}: {message}"),
        Failure::Crash => format!(
            "its workers died {} times; look into their logs, then run again",
            letter.crashes
        ),
    }
}

/// Network evaluations of a job, padding included.
pub(super) fn cost(plan: &ForwardPlan, job: &Job) -> Result<u32, PlanError> {
    match &job.task {
        Task::Batches {
            first,
            count,
            cells,
        } => Ok(forward_cost(plan, *first, *count, cells)?.all()),
        Task::Train(_) | Task::Trial => Ok(0),
    }
}

/// Records of a job that are computed once a worker has counted so many ticks on it; not all of them before they are
/// delivered.
#[allow(clippy::cast_precision_loss)]
fn computed(plan: &ForwardPlan, job: &Job, ticks: u64) -> Result<f64, PlanError> {
    /// What storing and delivering takes of the rest.
    const MOST: f64 = 0.99;
    let Task::Batches { count, cells, .. } = &job.task else {
        return Ok(0.0);
    };
    let batches = u64::from(*count);
    let expected = plan.ticks(cells)?.saturating_mul(batches);
    let records = batches.saturating_mul(cells.len() as u64);
    let share = ticks as f64 / expected.max(1) as f64;
    Ok(share.min(MOST) * records as f64)
}
