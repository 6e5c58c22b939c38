//! The loop of a run: gives out shards, hears what became of them, and does what follows.

mod demand;
mod recount;
mod stock;
mod training;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::plan::{Job, NumericProfile, PlanError, Task};
use anofpdm_common::queue::DeadLetter;
use anofpdm_common::queue::lease::Failure;

use self::recount::Recount;
use super::active_plan::{ActiveForward, ActivePlan};
use super::error::{NoAgreement, SchedulerError};
use super::operators::Operators;
use super::operators::run_metrics::{RunMetrics, ShardEnd};
use super::operators::snapshot::{Unit, Work};
use super::operators::status_file::{Done, StatusFile};
use super::result_committer::ResultCommitter;
use super::shard_event::{Ending, ShardEvent};
use super::shard_source::ShardSource;
use super::shard_tracker::{Command, Context, Purpose, ShardTracker, TrackerRules};
use super::signals::Interrupt;
use super::workers::pool::{PoolOptions, WorkerPool, if_reachable};

/// Longest time between two looks at workers, signals and progress.
const TURN: Duration = Duration::from_millis(200);

/// How often stragglers are looked for.
const STRAGGLERS_EVERY: Duration = Duration::from_secs(1);

/// So many shards given up are enough to see that going on is pointless.
const MAX_GIVEN_UP: usize = 16;

/// What a dead shard means to the stage it belongs to.
enum OnDeath {
    GiveUp,
    Revive,
}

/// Brings what a stage asks for into the journal, one stage after the other.
///
/// Only the scheduler, and operators through it, ask anything of the queue. Its parts decide and do not act:
///
/// ```text
///             claims, events                 ShardEvents                Commands
///   queue ───────────────────▶ committer ──────────────────▶ tracker ──────────────▶ scheduler ──▶ queue
///   (workers)                  verifies, journals            audits, opinions,       submit, cancel, retire
///                              before the worker hears       copies
/// ```
///
/// Every [`turn`](Self::turn) of the loop, which takes [`TURN`] at most:
///
/// 1. does what operators ask for (pause, cancel, retry) and shows them how far the run is;
/// 2. lets the [`WorkerPool`] serve workers: the queue hands each result to the [`ResultCommitter`], which verifies it and
///    writes it into the journal, and notes what happened as a [`ShardEvent`];
/// 3. tells the [`ShardTracker`] each event and carries out the [`Command`]s it answers with;
/// 4. stops at a signal, or when the time is up.
///
/// Around it [`forward`](Self::forward) keeps the queue filled from a [`ShardSource`] and ends when every record counts;
/// [`train`](Self::train) forms gangs of workers and forms them again when a rank is lost; [`trial`](Self::trial) waits for
/// one answer. Shards that are out of attempts are looked at before each turn: the others go on, and the stage fails at
/// its end, or at [`MAX_GIVEN_UP`] of them.
///
/// Nothing is remembered beside the journal. A stage begins by comparing its plan with the journal; what an earlier
/// coordinator left in the queue goes on where it is still wanted, and leaves the queue where it is not. So a coordinator
/// can be killed at any moment and started again.
///
/// A queue whose server is away for a moment is no error: what was to be said is said again later (see
/// [`if_reachable`]). A journal that cannot be written is one at once: nothing would count any more.
pub(super) struct Scheduler {
    pub(super) committer: ResultCommitter,
    pool: WorkerPool,
    tracker: ShardTracker,
    operators: Operators,
    interrupt: Interrupt,
    /// Workers to be retired, with reasons; kept until the queue has heard of it.
    retiring: Vec<(String, String)>,
    given_up: BTreeSet<u64>,
    /// Leases of a training that ended without a result, not yet looked at.
    lost_leases: Vec<(u64, Ending)>,
    stragglers_looked: Instant,
    metrics: RunMetrics,
}

impl Scheduler {
    /// The scheduler of one run, whose name in the queue is `run`.
    pub(super) fn new(
        committer: ResultCommitter,
        options: PoolOptions,
        run: String,
        audit: f64,
        interrupt: Interrupt,
        operators: Operators,
        metrics: RunMetrics,
    ) -> Self {
        let rules = TrackerRules {
            audit,
            patience: options.lease / 4,
        };
        Self {
            committer,
            pool: WorkerPool::new(options, run, metrics.clone()),
            tracker: ShardTracker::new(rules),
            operators,
            interrupt,
            retiring: Vec::new(),
            given_up: BTreeSet::new(),
            lost_leases: Vec::new(),
            stragglers_looked: Instant::now(),
            metrics,
        }
    }

    pub(super) fn run(&self) -> &str {
        self.pool.run()
    }

    /// The run's numeric profile: that of the first worker, or the one journaled before.
    pub(super) fn profile(&mut self) -> Result<NumericProfile, SchedulerError> {
        loop {
            if let Some(profile) = &self.committer.ledger().profile {
                return Ok(profile.clone());
            }
            self.turn()?;
        }
    }

    /// Brings every record of a plan into the journal, in shards of `largest` batches at most. `watch` is called at every
    /// turn with how far it is.
    pub(super) fn forward(
        &mut self,
        active: &Arc<ActiveForward>,
        largest: u32,
        mut watch: impl FnMut(&Work),
    ) -> Result<(), SchedulerError> {
        self.committer
            .begin(ActivePlan::Forward(Arc::clone(active)));
        let all = active.records();
        let (mut done, mut recount) = (self.count(active), Recount::new(Instant::now()));
        if done == all {
            return Ok(());
        }
        let mut source = self.begin_forward(active, largest)?;

        let (stage, slices) = (active.plan.stage, active.slices());
        #[allow(clippy::cast_precision_loss)]
        let at = |done: u64, under_way: f64| Done {
            unit: Unit::Slices,
            done: done * slices / all,
            total: slices,
            under_way: under_way * slices as f64 / all as f64,
        };
        self.operators.at(stage, at(done, 0.0));
        self.serve_operators()?;
        loop {
            self.fill(&mut source)?;
            self.tell_demand(&source);
            self.look_at_dead_shards(|_| OnDeath::GiveUp)?;
            let counts = self.pool.queue()?.counts()?;
            let idle = counts.outstanding() == 0 && !self.committer.has_events();
            let waiting = self.tracker.is_waiting() && self.given_up.is_empty();
            if source.is_empty() && idle && !waiting {
                break;
            }
            if source.is_empty() && counts.queued + counts.retrying == 0 {
                self.look_for_stragglers()?;
            }
            recount.wanted |= self.turn()?;
            let begun = Instant::now();
            if recount.is_due(begun) {
                done = self.count_more(active, done);
                recount.counted(begun, Instant::now());
            }
            let under_way = self.under_way(active)?;
            self.operators.at(stage, at(done, under_way));
            self.operators.work().into_iter().for_each(&mut watch);
        }
        if recount.wanted {
            self.count_more(active, done);
        }
        self.metrics.workers_wanted(0);
        self.check_given_up()
    }

    /// Counts again after `before` were there, and tells what came.
    fn count_more(&self, active: &ActiveForward, before: u64) -> u64 {
        let done = self.count(active);
        let (slices, all) = (active.slices(), active.records());
        #[allow(clippy::cast_precision_loss)]
        let more = done.saturating_sub(before) as f64 * slices as f64 / all as f64;
        self.metrics.slices_scored(active.plan.stage, more);
        done
    }

    /// Records of a stage that count, told by method on the way.
    fn count(&self, active: &ActiveForward) -> u64 {
        let ledger = self.committer.ledger();
        let methods = active.by_method(|key| ledger.record(key).is_some());
        let counted = methods.values().map(|(done, _)| done).sum();
        let methods = methods
            .into_iter()
            .map(|(name, (done, planned))| (name, done, planned));
        self.metrics.methods(active.plan.stage, methods);
        counted
    }

    /// What is to be given out of a plan: what is in the queue already and still wanted whole goes on there, and each part
    /// of it is asked for once.
    fn begin_forward<'a>(
        &mut self,
        active: &'a ActiveForward,
        largest: u32,
    ) -> Result<ShardSource<'a>, SchedulerError> {
        let inherited = self.begin_stage()?;
        let ledger = self.committer.ledger();
        let missing = |batch: usize, cell: usize| {
            let key = active.key(batch, cell);
            key.is_some_and(|key| ledger.record(key).is_none())
        };
        let mut covered: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for (number, job) in &inherited {
            if let Task::Batches(run) = &job.task
                && job.plan == active.digest
                && run.parts().next().is_some()
                && run
                    .parts()
                    .all(|part| !covered.contains(&part) && missing(part.0, part.1))
            {
                covered.extend(run.parts());
                wanted.insert(*number);
            }
        }
        let source = ShardSource::new(active, largest, |batch, cell| {
            missing(batch, cell) && !covered.contains(&(batch, cell))
        })?;
        self.take_over(inherited, &wanted)?;
        Ok(source)
    }

    /// Forgets the stage before. Returns the shards that an earlier coordinator left in the queue, each once in a run.
    fn begin_stage(&mut self) -> Result<Vec<(u64, Job)>, SchedulerError> {
        let inherited = self.pool.queue()?.inherited()?;
        let next = inherited.iter().map(|(shard, _)| shard + 1).max();
        self.tracker.begin_stage(next.unwrap_or(0));
        Ok(inherited)
    }

    /// Goes on with the inherited shards that are wanted; the others leave the queue. Returns how many go on.
    fn take_over(
        &mut self,
        inherited: Vec<(u64, Job)>,
        wanted: &BTreeSet<u64>,
    ) -> Result<usize, SchedulerError> {
        for (number, job) in inherited {
            if wanted.contains(&number) {
                // A shard that was given up has a new chance with each start.
                self.pool.queue()?.revive(number)?;
                let evaluations = self.evaluations(&job)?;
                self.tracker.adopt(number, job, Purpose::Work, evaluations);
            } else {
                self.pool.queue()?.cancel(number)?;
            }
        }
        Ok(wanted.len())
    }

    /// Network evaluations of a job of the active plan, padding included; 0 for a training or a trial.
    fn evaluations(&self, job: &Job) -> Result<u32, PlanError> {
        match (&job.task, self.committer.active().forward()) {
            (Task::Batches(run), Some(active)) => Ok(run.evaluations(&active.plan)?.all()),
            _ => Ok(0),
        }
    }

    /// Serves workers for a moment and does what follows from what happened. True when something did.
    fn turn(&mut self) -> Result<bool, SchedulerError> {
        self.serve_operators()?;
        self.pool.poll(&mut self.committer, TURN)?;
        let events = self.committer.take_events()?;
        let any = !events.is_empty();
        for event in events {
            self.measure(&event);
            if let ShardEvent::Ended { lease, how } = &event
                && self.committer.active().is_training()
            {
                self.lost_leases.push((lease.shard, how.clone()));
            }
            self.ask_tracker(|tracker, context| tracker.on_event(event, context))?;
        }
        self.ask_tracker(ShardTracker::ask_newcomers)?;
        self.retire()?;
        self.interrupt.check()?;
        Ok(any)
    }

    /// Times of shards, before the tracker hears of the event.
    fn measure(&self, event: &ShardEvent) {
        let now = Instant::now();
        match event {
            ShardEvent::Begun { lease, .. } => {
                if let Some((priority, time)) = self.tracker.waited(lease.shard, now) {
                    self.metrics.waited(priority, time);
                }
            }
            ShardEvent::Accepted { lease, .. } => {
                if let (Some(time), Some(stage)) = (
                    self.tracker.held(lease.shard, now),
                    self.committer.active().stage(),
                ) {
                    self.metrics.held(stage, time);
                }
            }
            _ => {}
        }
    }

    fn ask_tracker(
        &mut self,
        ask: impl FnOnce(&mut ShardTracker, &Context<'_>) -> Result<Vec<Command>, NoAgreement>,
    ) -> Result<(), SchedulerError> {
        let context = Context {
            active: self.committer.active(),
            ledger: self.committer.ledger(),
            workers: self.pool.workers(),
            now: Instant::now(),
        };
        let commands = ask(&mut self.tracker, &context)?;
        self.execute(commands)
    }

    fn execute(&mut self, commands: Vec<Command>) -> Result<(), SchedulerError> {
        for command in commands {
            match command {
                Command::Submit(submission) => {
                    match self.tracker.purpose(submission.shard) {
                        Some(Purpose::Audit) => self.metrics.extra_shard("audit"),
                        Some(Purpose::Opinion) => self.metrics.extra_shard("opinion"),
                        Some(Purpose::Copy(_)) => self.metrics.extra_shard("copy"),
                        Some(Purpose::Work) | None => {}
                    }
                    self.pool.queue()?.submit(vec![submission])?;
                }
                Command::Cancel(shard) => {
                    self.cancel(shard)?;
                }
                Command::MarkAudit(shard) => self.committer.mark_audit(shard),
                Command::Retire { worker, reason } => self.retiring.push((worker, reason)),
            }
        }
        Ok(())
    }

    /// Takes a shard out. False when it was not there any more, or the queue is away: then it comes to its own end.
    fn cancel(&mut self, shard: u64) -> Result<bool, SchedulerError> {
        let cancelled = self.pool.queue()?.cancel(shard);
        let cancelled = if_reachable(cancelled)?.unwrap_or(false);
        if let (true, Some(stage)) = (cancelled, self.committer.active().stage()) {
            self.metrics.shard_ended(stage, ShardEnd::Cancelled);
        }
        Ok(cancelled)
    }

    /// Does what operators ask for, and shows them how far the run is.
    fn serve_operators(&mut self) -> Result<(), SchedulerError> {
        let ledger = self.committer.ledger();
        self.operators
            .serve(&mut self.pool, &self.tracker, &mut self.given_up, ledger)
    }

    fn retire(&mut self) -> Result<(), SchedulerError> {
        while let Some((worker, reason)) = self.retiring.pop() {
            let retired = self.pool.queue()?.retire(&worker, &reason);
            if if_reachable(retired)?.is_none() {
                self.retiring.push((worker, reason));
                return Ok(());
            }
        }
        Ok(())
    }

    fn look_for_stragglers(&mut self) -> Result<(), SchedulerError> {
        if self.stragglers_looked.elapsed() >= STRAGGLERS_EVERY {
            self.stragglers_looked = Instant::now();
            self.ask_tracker(|tracker, context| Ok(tracker.copy_stragglers(context)))?;
        }
        Ok(())
    }

    /// Decides about shards that are out of attempts. The others go on.
    fn look_at_dead_shards(
        &mut self,
        mut on_death: impl FnMut(&DeadLetter) -> OnDeath,
    ) -> Result<(), SchedulerError> {
        for letter in self.pool.queue()?.dead_letters()? {
            if self.given_up.contains(&letter.shard) {
                continue;
            }
            match self.tracker.purpose(letter.shard) {
                Some(Purpose::Work | Purpose::Opinion) => match on_death(&letter) {
                    // Where the queue is away, the shard is dead at the next look too.
                    OnDeath::Revive => {
                        if_reachable(self.pool.queue()?.revive(letter.shard))?;
                    }
                    OnDeath::GiveUp => {
                        tracing::error!(
                            shard = letter.shard,
                            worker = letter.worker,
                            error = message(&letter),
                            "a shard is given up; the others go on"
                        );
                        self.given_up.insert(letter.shard);
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
        if self.given_up.len() >= MAX_GIVEN_UP {
            return self.check_given_up();
        }
        Ok(())
    }

    fn check_given_up(&mut self) -> Result<(), SchedulerError> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        let letters = self.pool.queue()?.dead_letters()?;
        let first = letters
            .iter()
            .find(|letter| self.given_up.contains(&letter.shard));
        Err(SchedulerError::Dead {
            shards: self.given_up.len(),
            message: first.map_or_else(String::new, message),
        })
    }

    /// Ends this coordinator's part. A run that is `over` leaves the queue. What is left is the journal, and whom to tell
    /// how it ended.
    pub(super) fn stop(
        mut self,
        over: bool,
    ) -> (Result<ResultCommitter, SchedulerError>, StatusFile) {
        let ledger = self.committer.ledger();
        if let Err(error) = self.operators.show_last(&self.pool, &self.tracker, ledger) {
            tracing::debug!(%error, "the last moment is not shown");
        }
        let stopped = if over {
            self.pool.close(&mut self.committer);
            Ok(())
        } else {
            self.pool.stop(&mut self.committer)
        };
        let committer = self.committer;
        (
            stopped.map(|()| committer),
            self.operators.into_status_file(),
        )
    }
}

fn message(letter: &DeadLetter) -> String {
    match &letter.failure {
        Failure::Error { class, message } => format!("{class:?}: {message}"),
        Failure::Crash => format!(
            "its workers died {} times; look into their logs, then run again",
            letter.crashes
        ),
    }
}
