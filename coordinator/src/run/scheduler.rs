//! A run at work: brings the records of a stage into the journal.

mod parts;
mod training;
mod trial;

use std::collections::BTreeSet;
use std::time::Instant;

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::QueueError;
use anofpdm_common::work::{ForwardPlan, Job, NumericProfile, Task};

use super::error::SchedulerError;
use super::operators::Operators;
use super::operators::snapshot::{Unit, Work};
use super::operators::status_file::{Done, StatusFile};
use super::result_committer::{Ending, ResultCommitter};
use super::shard_source::ShardSource;
use super::shard_tracker::{Places, ShardTracker, TrackerRules};
use super::signals::Interrupt;
use super::workers::pool::{self, PoolOptions, WorkerPool};
use parts::{OnDeath, Parts, cost};

/// The records of a stage that a plan asks for.
pub(super) struct Wanted<'a> {
    /// The plan.
    pub(super) plan: &'a ForwardPlan,
    /// Its digest in the artifact store.
    pub(super) digest: Digest,
    /// Its record keys, `[batch][cell]`.
    pub(super) keys: &'a [Vec<Digest>],
    /// Batches of a shard at most.
    pub(super) largest: u32,
}

/// Journal, queue and workers of one run. Queue and workers start with the first thing there is to do.
pub(super) struct Scheduler {
    pub(super) judge: ResultCommitter,
    fleet_options: PoolOptions,
    /// Name of the run in the queue.
    run: String,
    interrupt: Interrupt,
    pool: Option<WorkerPool>,
    tracker: ShardTracker,
    /// Shards an earlier coordinator left in the queue.
    inherited: Vec<(u64, Job)>,
    /// Workers to be retired, with reasons; kept until the queue has heard of it.
    retiring: Vec<(String, String)>,
    /// Shards given up.
    dead: BTreeSet<u64>,
    /// Leases that ended without a result, not yet looked at.
    endings: Vec<(u64, Ending)>,
    stragglers_looked: Instant,
    operators: Operators,
}

impl Scheduler {
    pub(super) fn new(
        judge: ResultCommitter,
        fleet_options: PoolOptions,
        run: String,
        audit: f64,
        interrupt: Interrupt,
        operators: Operators,
    ) -> Self {
        let rules = TrackerRules {
            audit,
            patience: fleet_options.lease / 4,
        };
        Self {
            judge,
            fleet_options,
            run,
            interrupt,
            pool: None,
            tracker: ShardTracker::new(rules),
            inherited: Vec::new(),
            retiring: Vec::new(),
            dead: BTreeSet::new(),
            endings: Vec::new(),
            stragglers_looked: Instant::now(),
            operators,
        }
    }

    /// Name of the run in the queue.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Opens the queue and starts workers where that has not been done.
    fn ready(&mut self) -> Result<(), SchedulerError> {
        if self.pool.is_none() {
            let mut pool = WorkerPool::start(&self.fleet_options, &self.run)?;
            self.inherited = pool.queue.inherited()?;
            let next = self.inherited.iter().map(|(shard, _)| shard + 1).max();
            self.tracker.start_at(next.unwrap_or(0));
            self.pool = Some(pool);
        }
        Ok(())
    }

    /// The queue and its workers, and everything else.
    fn parts(&mut self) -> Result<Parts<'_>, SchedulerError> {
        self.ready()?;
        match &mut self.pool {
            Some(pool) => Ok(Parts {
                pool,
                judge: &mut self.judge,
                tracker: &mut self.tracker,
                interrupt: &self.interrupt,
                retiring: &mut self.retiring,
                dead: &mut self.dead,
                endings: &mut self.endings,
                stragglers_looked: &mut self.stragglers_looked,
                operators: &mut self.operators,
            }),
            None => Err(QueueError::Gone("the queue is closed".to_owned()).into()),
        }
    }

    /// The run's numeric profile: that of the first worker, or the one journaled before.
    pub(super) fn profile(&mut self) -> Result<NumericProfile, SchedulerError> {
        loop {
            if let Some(profile) = &self.judge.journal.ledger().profile {
                return Ok(profile.clone());
            }
            self.parts()?.beat(&Places::new())?;
        }
    }

    /// Brings every record that is wanted into the journal. `watch` is called at every beat with how far it is.
    pub(super) fn forward(
        &mut self,
        wanted: &Wanted<'_>,
        mut watch: impl FnMut(&Work),
    ) -> Result<(), SchedulerError> {
        let missing = |judge: &ResultCommitter, batch: usize, cell: usize| {
            let key = wanted.keys.get(batch).and_then(|cells| cells.get(cell));
            key.is_some_and(|key| judge.journal.ledger().record(*key).is_none())
        };
        let there = |judge: &ResultCommitter| {
            let ledger = judge.journal.ledger();
            let keys = wanted.keys.iter().flatten();
            keys.filter(|key| ledger.record(**key).is_some()).count() as u64
        };
        let all = wanted.keys.iter().map(Vec::len).sum::<usize>() as u64;
        let mut done = there(&self.judge);
        if done == all {
            return Ok(());
        }
        self.ready()?;
        self.tracker.begin_stage();
        let mut places = Places::new();
        for (batch, cells) in (0..).zip(wanted.keys) {
            places.extend((0..).zip(cells).map(|(cell, key)| (*key, (batch, cell))));
        }

        // What is in the queue already and still wanted whole goes on; each part of it is asked for once.
        let mut covered: BTreeSet<(usize, usize)> = BTreeSet::new();
        let judge = &self.judge;
        let usable: Vec<u64> = self
            .inherited
            .iter()
            .filter(|(_, job)| job.plan == wanted.digest)
            .filter(|(_, job)| {
                let parts = parts_of(job);
                let fits = !parts.is_empty()
                    && parts
                        .iter()
                        .all(|part| !covered.contains(part) && missing(judge, part.0, part.1));
                if fits {
                    covered.extend(parts);
                }
                fits
            })
            .map(|(number, _)| *number)
            .collect();
        let numbers: BTreeSet<u64> = usable.into_iter().collect();
        let known = self.take_over(&numbers)?;
        for (number, job) in known {
            let evaluations = cost(wanted.plan, &job)?;
            self.tracker.adopt(number, job, evaluations);
        }
        let judge = &self.judge;
        let mut feed =
            ShardSource::new(wanted.plan, wanted.digest, wanted.largest, |batch, cell| {
                missing(judge, batch, cell) && !covered.contains(&(batch, cell))
            })?;

        let slices = wanted.plan.batches.iter().map(Vec::len).sum::<usize>() as u64;
        let stage = wanted.plan.stage;
        #[allow(clippy::cast_precision_loss)]
        let at = |done: u64, under_way: f64| Done {
            unit: Unit::Slices,
            done: done * slices / all,
            total: slices,
            under_way: under_way * slices as f64 / all as f64,
        };
        let mut parts = self.parts()?;
        parts.operators.at(stage, at(done, 0.0));
        parts.attend()?;
        loop {
            parts.fill(&mut feed, wanted.plan)?;
            parts.bury(&mut |_| OnDeath::GiveUp)?;
            let counts = parts.pool.queue.counts()?;
            let idle = counts.outstanding() == 0 && parts.judge.events.is_empty();
            if feed.is_empty() && idle && !(parts.tracker.is_waiting() && parts.dead.is_empty()) {
                break;
            }
            if feed.is_empty() && counts.queued + counts.retrying == 0 {
                parts.look_for_stragglers()?;
            }
            if parts.beat(&places)? {
                done = there(parts.judge);
            }
            let under_way = parts.under_way(wanted.plan)?;
            parts.operators.at(stage, at(done, under_way));
            parts.operators.work().into_iter().for_each(&mut watch);
        }
        if !parts.dead.is_empty() {
            return Err(parts.dead_error()?);
        }
        Ok(())
    }

    /// Takes over the inherited shards that are wanted; the others leave the queue.
    fn take_over(&mut self, wanted: &BTreeSet<u64>) -> Result<Vec<(u64, Job)>, SchedulerError> {
        let inherited = std::mem::take(&mut self.inherited);
        let Some(pool) = &mut self.pool else {
            return Ok(Vec::new());
        };
        let mut known = Vec::new();
        for (number, job) in inherited {
            if wanted.contains(&number) {
                // A shard that was given up has a new chance with each start.
                pool.queue.revive(number)?;
                known.push((number, job));
            } else {
                pool.queue.cancel(number)?;
            }
        }
        Ok(known)
    }

    /// Ends this coordinator's part. A run that is `done` leaves the queue. What is left is the journal, and whom to
    /// tell how it ended.
    pub(super) fn stop(
        mut self,
        done: bool,
    ) -> (Result<ResultCommitter, SchedulerError>, StatusFile) {
        let stopped = match self.pool.take() {
            Some(pool) => {
                let ledger = self.judge.journal.ledger();
                if let Err(error) = self.operators.show_last(&pool, &self.tracker, ledger) {
                    tracing::debug!(%error, "the last moment is not shown");
                }
                if done {
                    pool.close(&mut self.judge);
                    Ok(())
                } else {
                    pool.stop(&mut self.judge)
                }
            }
            None if done => {
                pool::clear(&self.fleet_options.queue, &self.run);
                Ok(())
            }
            None => Ok(()),
        };
        let judge = self.judge;
        (stopped.map(|()| judge), self.operators.into_live())
    }
}

/// The (batch, cell) parts of a job.
fn parts_of(job: &Job) -> Vec<(usize, usize)> {
    let Task::Batches {
        first,
        count,
        cells,
    } = &job.task
    else {
        return Vec::new();
    };
    (*first..first.saturating_add(*count))
        .flat_map(|batch| cells.iter().map(move |cell| (batch, *cell)))
        .map(|(batch, cell)| (batch as usize, usize::from(cell)))
        .collect()
}
