//! What a coordinator at work tells others: `RUN/live.json`, replaced about once a second and at the end.
//!
//! For people and their tools only: nothing is ever decided by it, so it is replaced whole but not synced, and a disk
//! that refuses it does not stop the run. The last one stays, so that dead letters can be read when the run is over.

use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anofpdm_common::error_text::error_text;
use anofpdm_common::instance;
use anofpdm_common::plan::{Job, Stage, Task};
use anofpdm_common::queue::lease::Failure;
use anofpdm_common::queue::{Counts, DeadLetter, Dispatch, LiveLease, QueueError, WorkerStatus};
use anofpdm_common::store::durable;

use super::control_files::Cancelled;
use super::rate::Rate;
use super::snapshot::{
    Dead, Ended, FORMAT, Held, RunOutcome, Snapshot, Unit, Verdicts, Work, WorkerEntry, Writer,
    at_work,
};
use crate::ledger::Ledger;
use crate::run::signals::Interrupted;
use crate::run::warn_once::WarnOnce;
use crate::run_folder::RunFolder;

/// How often the file is replaced while nothing but numbers change.
const EVERY: Duration = Duration::from_secs(1);

/// Most workers, leases of one worker, and dead letters in the file.
const WORKERS_LISTED: usize = 256;
const LEASES_LISTED: usize = 4;
const DEAD_LISTED: usize = 200;

/// Bytes that the messages of dead letters may take together before they are shortened, and to how much.
const MESSAGES_LIMIT: usize = 1 << 20;
const SHORT_MESSAGE: usize = 512;

/// Longest sentence on how the run ended, bytes.
const ENDED_LIMIT: usize = 16 << 10;

/// What the scheduler knows and the queue does not.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub stage: Option<Stage>,
    pub work: Option<Done>,
    /// Operators want the run paused.
    pub paused: bool,
    /// The queue's address as it may be shown: without password.
    pub queue: &'a str,
    pub ledger: &'a Ledger,
    pub job: &'a dyn Fn(u64) -> Option<Job>,
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("stage", &self.stage)
            .field("work", &self.work)
            .field("paused", &self.paused)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Done {
    pub unit: Unit,
    /// Done, by earlier coordinators too.
    pub done: u64,
    pub total: u64,
    /// Computed and not yet delivered, as workers say.
    pub under_way: f64,
}

/// Writes `live.json` of one run. Only the coordinator that holds the run's lock may.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    last: Snapshot,
    written: Instant,
    rate: Option<(Stage, Rate)>,
    refused: WarnOnce,
}

impl StatusFile {
    /// Says that a coordinator has begun; `run` is the run's name in its queue.
    pub fn start(folder: &RunFolder, run: &str) -> Self {
        let now = instance::unix_millis();
        let mut live = Self {
            path: folder.live(),
            last: Snapshot {
                format: FORMAT,
                run: run.to_owned(),
                coordinator: Writer {
                    host: instance::host_name(),
                    pid: std::process::id(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    started_millis: now,
                },
                time_millis: now,
                ended: None,
                stage: None,
                paused: false,
                queue: None,
                work: None,
                shards: Counts::default(),
                workers: Vec::new(),
                more_workers: 0,
                more_at_work: 0,
                unlisted: Vec::new(),
                dead: Vec::new(),
                more_dead: 0,
                verdicts: Verdicts::default(),
            },
            written: Instant::now(),
            rate: None,
            refused: WarnOnce::at_once(),
        };
        live.write();
        live
    }

    /// To be called at every turn of the loop: replaces the file when a second has passed, and at once when the stage, the pause
    /// or the number of dead shards has changed.
    ///
    /// Returns whether it was replaced.
    ///
    /// # Errors
    /// When the queue fails; a disk that fails is only warned of.
    pub fn update(
        &mut self,
        queue: &dyn Dispatch,
        moment: &Moment<'_>,
    ) -> Result<bool, QueueError> {
        let counts = queue.counts()?;
        let due = self.written.elapsed() >= EVERY
            || self.last.stage != moment.stage
            || self.last.paused != moment.paused
            || self.last.shards.dead != counts.dead;
        self.last.work = self.work(moment, counts);
        if due {
            return self.update_now(queue, moment);
        }
        Ok(false)
    }

    /// Replaces the file, however young: before something ends by an error, so that the last file shows why.
    pub fn update_now(
        &mut self,
        queue: &dyn Dispatch,
        moment: &Moment<'_>,
    ) -> Result<bool, QueueError> {
        self.last.stage = moment.stage;
        self.last.paused = moment.paused;
        self.last.queue = Some(moment.queue.to_owned());
        let counts = queue.counts()?;
        self.last.work = self.work(moment, counts);
        self.last.shards = counts;
        // Without the queue's time a lease says nothing.
        let (workers, now) = match queue.now()? {
            Some(now) => (queue.workers()?, now),
            None => (Vec::new(), Duration::ZERO),
        };
        let mut workers = workers
            .into_iter()
            .map(|worker| live_worker(worker, now, moment.job));
        self.last.workers = workers.by_ref().take(WORKERS_LISTED).collect();
        self.last.unlisted = workers.collect();
        self.last.more_workers = self.last.unlisted.len() as u64;
        self.last.more_at_work = at_work(&self.last.unlisted);
        // A queue that is away names no dead shard; those that it named before are still dead.
        let letters = queue.dead_letters()?;
        if !letters.is_empty() || self.last.shards.dead == 0 {
            (self.last.dead, self.last.more_dead) = dead(letters, moment.job);
        }
        self.last.verdicts = verdicts(moment.ledger);
        self.write();
        Ok(true)
    }

    /// What the file says.
    pub const fn shown(&self) -> &Snapshot {
        &self.last
    }

    /// How far the stage at work is, as of the last update, whether or not that was written.
    pub fn at_work(&self) -> Option<&Work> {
        self.last.work.as_ref()
    }

    fn work(&mut self, moment: &Moment<'_>, counts: Counts) -> Option<Work> {
        let (Some(stage), Some(at)) = (moment.stage, moment.work) else {
            self.rate = None;
            return None;
        };
        let Done {
            unit,
            done,
            total,
            under_way,
        } = at;
        #[allow(clippy::cast_precision_loss)]
        let (reached, end) = (done as f64 + under_way, total as f64);
        // A training that is under way goes on in a pause: it is one shard.
        let halted = moment.paused && !(stage == Stage::Train && counts.leased > 0);
        let now = Instant::now();
        let rate = match &mut self.rate {
            Some((watched, rate)) if *watched == stage => {
                rate.look(reached, halted, now);
                rate
            }
            watched => &mut watched.insert((stage, Rate::new(reached, now))).1,
        };
        Some(Work {
            unit,
            done,
            total,
            under_way,
            per_second: rate.per_second(),
            eta_seconds: rate.eta(end).filter(|_| !halted || done >= total),
        })
    }

    /// The last word: how it ended. What was true at last stays readable, the workers excepted, which are gone.
    pub fn end(mut self, ended: Ended) {
        self.last.workers.clear();
        self.last.unlisted.clear();
        self.last.more_workers = 0;
        self.last.more_at_work = 0;
        self.last.ended = Some(ended);
        self.last.time_millis = instance::unix_millis();
        if let Some(work) = &mut self.last.work {
            work.eta_seconds = None;
        }
        // Synced, as it may have to tell of a failure for a long time.
        let written = self
            .bytes()
            .and_then(|bytes| durable::write(&self.path, &bytes).map_err(io::Error::other));
        self.warn_if_refused(written);
    }

    /// Replaces the file. Not synced: what it says is stale in a second.
    fn write(&mut self) {
        self.written = Instant::now();
        self.last.time_millis = instance::unix_millis();
        let temporary = self.path.with_extension("json.tmp");
        let written = self
            .bytes()
            .and_then(|bytes| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, &self.path));
        self.warn_if_refused(written);
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(&self.last).map_err(io::Error::other)
    }

    fn warn_if_refused(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.refused.reset(),
            Err(error) if self.refused.is_due(Instant::now()) => {
                tracing::warn!(path = %self.path.display(), %error, "others cannot see what this run does");
            }
            Err(_) => {}
        }
    }
}

impl Ended {
    /// It did what it was started for, in a sentence.
    pub fn finished(message: &str) -> Self {
        Self {
            outcome: RunOutcome::Finished,
            message: message.to_owned(),
        }
    }

    pub fn with_error(error: &(dyn Error + 'static)) -> Self {
        let mut outcome = RunOutcome::Failed;
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<Interrupted>() {
                outcome = RunOutcome::Interrupted;
            } else if error.is::<Cancelled>() {
                outcome = RunOutcome::Cancelled;
            }
            cause = error.source();
        }
        let mut message = error_text(error);
        message.truncate(message.floor_char_boundary(ENDED_LIMIT));
        Self { outcome, message }
    }
}

fn live_worker(
    worker: WorkerStatus,
    now: Duration,
    job: &dyn Fn(u64) -> Option<Job>,
) -> WorkerEntry {
    let WorkerStatus { info, leases, .. } = worker;
    let held = |LiveLease {
                    lease,
                    since,
                    deadline,
                    progress,
                }| Held {
        shard: lease.shard,
        job: job(lease.shard).as_ref().map(job_in_words),
        seconds: now.saturating_sub(since).as_secs_f64(),
        deadline_seconds: deadline.saturating_sub(now).as_secs_f64(),
        ticks: progress.ticks,
        note: progress.note,
    };
    WorkerEntry {
        name: info.worker,
        host: info.host,
        pid: info.pid,
        profile: info.profile.to_string(),
        device: info.profile.device,
        memory_bytes: info.memory_bytes,
        version: info.version,
        metrics: info.metrics,
        more_leases: leases.len().saturating_sub(LEASES_LISTED) as u64,
        leases: leases.into_iter().take(LEASES_LISTED).map(held).collect(),
    }
}

fn dead(letters: Vec<DeadLetter>, job: &dyn Fn(u64) -> Option<Job>) -> (Vec<Dead>, u64) {
    let more = letters.len().saturating_sub(DEAD_LISTED) as u64;
    let mut room = MESSAGES_LIMIT;
    let mut listed = Vec::with_capacity(letters.len().min(DEAD_LISTED));
    for letter in letters.into_iter().take(DEAD_LISTED) {
        let (class, mut message) = match letter.failure {
            Failure::Error { class, message } => (class.name(), message),
            Failure::Crash => ("Crash", String::new()),
        };
        let whole = message.len();
        if whole > room {
            message.truncate(message.floor_char_boundary(SHORT_MESSAGE));
        }
        room = room.saturating_sub(message.len());
        listed.push(Dead {
            shard: letter.shard,
            job: job(letter.shard).as_ref().map(job_in_words),
            errors: letter.errors,
            crashes: letter.crashes,
            worker: letter.worker,
            class: class.to_owned(),
            cut_bytes: (whole - message.len()) as u64,
            message,
        });
    }
    (listed, more)
}

fn verdicts(ledger: &Ledger) -> Verdicts {
    Verdicts {
        audits: ledger.audits.shards,
        audits_agreed: ledger.audits.agreed,
        audits_conflicts: ledger.audits.conflicts,
        duplicates: ledger.duplicates.len() as u64,
        conflicts: ledger.conflicts.len() as u64,
        contested: ledger.contested(),
        distrusted: ledger.distrusted.len() as u64,
    }
}

pub fn job_in_words(job: &Job) -> String {
    let stage = job.stage.name();
    match &job.task {
        Task::Train(gang) => match gang.world {
            1 => stage.to_owned(),
            world => format!("{stage}, rank {} of {world}", gang.rank),
        },
        Task::Trial => "number formats compared".to_owned(),
        Task::Batches(run) => format!("{stage} {run}"),
    }
}

#[cfg(test)]
mod tests;
