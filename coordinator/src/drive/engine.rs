//! A run at work: gives out shards, serves workers, and follows what happens until a stage is done.

mod training;
mod trial;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::lease::Failure;
use anofpdm_common::queue::{DeadLetter, Lane, QueueError, Submission};
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::work::{ForwardPlan, Job, NumericProfile, PlanError, Task};

use super::control::Cancelled;
use super::feed::{Feed, Pace};
use super::fleet::{self, Fleet, FleetOptions, is_away};
use super::flight::{Flight, FlightError, FlightRules, Places, Purpose};
use super::gang::GivenUp;
use super::judge::{Ending, Happened, RunJudge};
use super::live::{Live, Unit};
use super::operators::Operators;
use super::signals::{Interrupt, Interrupted};
use super::supervisor::SupervisorError;
use super::verify::forward_cost;

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

/// Why work stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The queue failed.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// A device has no worker.
    #[error("{0}")]
    Supervisor(#[from] SupervisorError),
    /// The journal cannot be written: nothing counts any more.
    #[error("the journal failed, the run stops here and can be resumed: {0}")]
    Journal(#[from] JournalError),
    /// A plan that contradicts itself.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The run folder cannot be found again.
    #[error("cannot name the queue's socket after the run folder: {0}")]
    Folder(std::io::Error),
    /// Shards were given up.
    #[error("{shards} shard(s) failed for good; the first: {message}")]
    Dead {
        /// How many.
        shards: usize,
        /// The first failure, whole.
        message: String,
    },
    /// Workers do not agree.
    #[error("{0}")]
    Disagreement(FlightError),
    /// The user stopped it.
    #[error("{0}")]
    Interrupted(#[from] Interrupted),
    /// An operator ended it.
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl From<FlightError> for EngineError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Queue(error) => Self::Queue(error),
            error @ FlightError::NoAgreement(_) => Self::Disagreement(error),
        }
    }
}

impl From<GivenUp> for EngineError {
    fn from(GivenUp(message): GivenUp) -> Self {
        Self::Dead { shards: 1, message }
    }
}

/// What a dead shard means to the stage it belongs to.
pub(super) enum OnDeath {
    /// The stage fails.
    GiveUp,
    /// Try again.
    Revive,
}

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
pub(super) struct Engine {
    pub(super) judge: RunJudge,
    fleet_options: FleetOptions,
    /// Name of the run in the queue.
    run: String,
    interrupt: Interrupt,
    fleet: Option<Fleet>,
    flight: Flight,
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

impl Engine {
    pub(super) fn new(
        judge: RunJudge,
        fleet_options: FleetOptions,
        run: String,
        audit: f64,
        interrupt: Interrupt,
        operators: Operators,
    ) -> Self {
        let rules = FlightRules {
            audit,
            patience: fleet_options.lease / 4,
        };
        Self {
            judge,
            fleet_options,
            run,
            interrupt,
            fleet: None,
            flight: Flight::new(rules),
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
    fn ready(&mut self) -> Result<(), EngineError> {
        if self.fleet.is_none() {
            let mut fleet = Fleet::start(&self.fleet_options, &self.run)?;
            self.inherited = fleet.queue.inherited()?;
            let next = self.inherited.iter().map(|(shard, _)| shard + 1).max();
            self.flight.start_at(next.unwrap_or(0));
            self.fleet = Some(fleet);
        }
        Ok(())
    }

    /// The queue and its workers, and everything else.
    fn parts(&mut self) -> Result<Parts<'_>, EngineError> {
        self.ready()?;
        match &mut self.fleet {
            Some(fleet) => Ok(Parts {
                fleet,
                judge: &mut self.judge,
                flight: &mut self.flight,
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
    pub(super) fn profile(&mut self) -> Result<NumericProfile, EngineError> {
        loop {
            if let Some(profile) = &self.judge.journal.ledger().profile {
                return Ok(profile.clone());
            }
            self.parts()?.beat(&Places::new())?;
        }
    }

    /// Brings every record that is wanted into the journal. `watch` is called at every beat with the number of records
    /// that count.
    pub(super) fn forward(
        &mut self,
        wanted: &Wanted<'_>,
        mut watch: impl FnMut(u64),
    ) -> Result<(), EngineError> {
        let missing = |judge: &RunJudge, batch: usize, cell: usize| {
            let key = wanted.keys.get(batch).and_then(|cells| cells.get(cell));
            key.is_some_and(|key| judge.journal.ledger().record(*key).is_none())
        };
        let there = |judge: &RunJudge| {
            let ledger = judge.journal.ledger();
            let keys = wanted.keys.iter().flatten();
            keys.filter(|key| ledger.record(**key).is_some()).count() as u64
        };
        let all = wanted.keys.iter().map(Vec::len).sum::<usize>() as u64;
        let mut done = there(&self.judge);
        watch(done);
        if done == all {
            return Ok(());
        }
        self.ready()?;
        self.flight.begin_stage();
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
            self.flight.adopt(number, job, evaluations);
        }
        let judge = &self.judge;
        let mut feed = Feed::new(wanted.plan, wanted.digest, wanted.largest, |batch, cell| {
            missing(judge, batch, cell) && !covered.contains(&(batch, cell))
        })?;

        let slices = wanted.plan.batches.iter().map(Vec::len).sum::<usize>() as u64;
        let stage = wanted.plan.stage;
        let mut parts = self.parts()?;
        parts
            .operators
            .at(stage, Unit::Slices, done * slices / all, slices);
        parts.attend()?;
        loop {
            parts.fill(&mut feed, wanted.plan)?;
            parts.bury(&mut |_| OnDeath::GiveUp)?;
            let counts = parts.fleet.queue.counts()?;
            let idle = counts.outstanding() == 0 && parts.judge.happened.is_empty();
            if feed.is_empty() && idle && !(parts.flight.is_waiting() && parts.dead.is_empty()) {
                break;
            }
            if feed.is_empty() && counts.queued + counts.retrying == 0 {
                parts.look_for_stragglers()?;
            }
            if parts.beat(&places)? {
                done = there(parts.judge);
                parts
                    .operators
                    .at(stage, Unit::Slices, done * slices / all, slices);
            }
            watch(done);
        }
        if !parts.dead.is_empty() {
            return Err(parts.dead_error()?);
        }
        watch(there(&self.judge));
        Ok(())
    }

    /// Takes over the inherited shards that are wanted; the others leave the queue.
    fn take_over(&mut self, wanted: &BTreeSet<u64>) -> Result<Vec<(u64, Job)>, EngineError> {
        let inherited = std::mem::take(&mut self.inherited);
        let Some(fleet) = &mut self.fleet else {
            return Ok(Vec::new());
        };
        let mut known = Vec::new();
        for (number, job) in inherited {
            if wanted.contains(&number) {
                // A shard that was given up has a new chance with each start.
                fleet.queue.revive(number)?;
                known.push((number, job));
            } else {
                fleet.queue.cancel(number)?;
            }
        }
        Ok(known)
    }

    /// Ends this coordinator's part. A run that is `done` leaves the queue. What is left is the journal, and whom to
    /// tell how it ended.
    pub(super) fn stop(mut self, done: bool) -> (Result<RunJudge, EngineError>, Live) {
        let stopped = match self.fleet.take() {
            Some(fleet) => {
                let ledger = self.judge.journal.ledger();
                if let Err(error) = self.operators.show_last(&fleet, &self.flight, ledger) {
                    tracing::debug!(%error, "the last moment is not shown");
                }
                if done {
                    fleet.close(&mut self.judge);
                    Ok(())
                } else {
                    fleet.stop(&mut self.judge)
                }
            }
            None if done => {
                fleet::clear(&self.fleet_options, &self.run);
                Ok(())
            }
            None => Ok(()),
        };
        let judge = self.judge;
        (stopped.map(|()| judge), self.operators.into_live())
    }
}

/// An engine with its queue open.
struct Parts<'a> {
    fleet: &'a mut Fleet,
    judge: &'a mut RunJudge,
    flight: &'a mut Flight,
    interrupt: &'a Interrupt,
    retiring: &'a mut Vec<(String, String)>,
    dead: &'a mut BTreeSet<u64>,
    endings: &'a mut Vec<(u64, Ending)>,
    stragglers_looked: &'a mut Instant,
    operators: &'a mut Operators,
}

impl Parts<'_> {
    /// Serves workers for a moment and draws the consequences of what happened. True when something did.
    fn beat(&mut self, places: &Places) -> Result<bool, EngineError> {
        self.attend()?;
        self.fleet.beat(self.judge, BEAT)?;
        if let Some(failure) = self.judge.failure.take() {
            return Err(failure.into());
        }
        let happened = std::mem::take(&mut self.judge.happened);
        let any = !happened.is_empty();
        let workers = self.fleet.workers().to_vec();
        for event in happened {
            if let Happened::Distrusted { worker, reason } = event {
                self.retiring.push((worker, reason));
                continue;
            }
            if let Happened::Ended { lease, how } = &event
                && self.judge.current.is_training()
            {
                self.endings.push((lease.shard, how.clone()));
            }
            let queue = self.fleet.queue.as_mut();
            self.flight
                .follow(event, self.judge, queue, &workers, places)?;
        }
        let queue = self.fleet.queue.as_mut();
        self.flight
            .ask_newcomers(self.judge, queue, &workers, places)?;
        self.retire()?;
        if self.interrupt.asked() {
            return Err(Interrupted.into());
        }
        Ok(any)
    }

    /// Obeys and informs operators.
    fn attend(&mut self) -> Result<(), EngineError> {
        let ledger = self.judge.journal.ledger();
        self.operators
            .attend(self.fleet, self.flight, self.dead, ledger)
    }

    fn retire(&mut self) -> Result<(), EngineError> {
        while let Some((worker, reason)) = self.retiring.pop() {
            match self.fleet.queue.retire(&worker, &reason) {
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
    fn fill(&mut self, feed: &mut Feed<'_>, plan: &ForwardPlan) -> Result<(), EngineError> {
        let workers = self.fleet.workers().len().max(self.fleet.own_workers());
        let pace = Pace {
            workers,
            evaluation: self.flight.evaluation(),
        };
        let counts = self.fleet.queue.counts()?;
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
                .flight
                .register(job.clone(), Purpose::Work, evaluations);
            submissions.push(Submission {
                shard,
                job,
                lane: Lane::Normal,
                avoid: Vec::new(),
            });
        }
        if !submissions.is_empty() {
            self.fleet.queue.submit(submissions)?;
        }
        Ok(())
    }

    fn look_for_stragglers(&mut self) -> Result<(), EngineError> {
        if self.stragglers_looked.elapsed() >= STRAGGLERS_EVERY {
            *self.stragglers_looked = Instant::now();
            let workers = self.fleet.workers().to_vec();
            self.flight
                .copy_stragglers(self.fleet.queue.as_mut(), &workers)?;
        }
        Ok(())
    }

    /// Decides about shards that are out of attempts. The others go on.
    fn bury(
        &mut self,
        on_death: &mut dyn FnMut(&DeadLetter) -> OnDeath,
    ) -> Result<(), EngineError> {
        for letter in self.fleet.queue.dead_letters()? {
            if self.dead.contains(&letter.shard) {
                continue;
            }
            match self.flight.purpose(letter.shard) {
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
                    self.flight.forget(letter.shard);
                }
                None => {}
            }
        }
        if self.dead.len() >= MAX_DEAD {
            return Err(self.dead_error()?);
        }
        Ok(())
    }

    fn revive(&mut self, shard: u64) -> Result<(), EngineError> {
        match self.fleet.queue.revive(shard) {
            Ok(_) => Ok(()),
            // It is dead at the next look too.
            Err(error) if is_away(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The error for the shards that were given up.
    fn dead_error(&self) -> Result<EngineError, EngineError> {
        let letters = self.fleet.queue.dead_letters()?;
        let first = letters
            .iter()
            .find(|letter| self.dead.contains(&letter.shard));
        Ok(EngineError::Dead {
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

/// Network evaluations of a job, padding included.
fn cost(plan: &ForwardPlan, job: &Job) -> Result<u32, PlanError> {
    match &job.task {
        Task::Batches {
            first,
            count,
            cells,
        } => Ok(forward_cost(plan, *first, *count, cells)?.all()),
        Task::Train(_) | Task::Trial => Ok(0),
    }
}
