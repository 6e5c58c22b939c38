//! Queue, workers and journal of one run at work: submits shards and serves workers until they are done.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::lease::Failure;
use anofpdm_common::queue::local::LocalDispatcher;
use anofpdm_common::queue::{DeadLetter, Dispatch, LeaseConfig, QueueError, Submission};
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::work::{Job, NumericProfile};

use super::judge::{Happened, RunJudge};
use super::signals::{Interrupt, Interrupted};
use super::supervisor::{Supervisor, SupervisorError, WorkerCommand, worker_program};

/// Longest time between two looks at workers, signals and progress.
const BEAT: Duration = Duration::from_millis(200);

/// How long workers may take to stop in good order.
const STOP_GRACE: Duration = Duration::from_secs(20);

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
    /// The run folder cannot be found again.
    #[error("cannot name the queue's socket after the run folder: {0}")]
    Folder(std::io::Error),
    /// A shard was given up.
    #[error("{shards} shard(s) failed for good; the first: {message}")]
    Dead {
        /// How many.
        shards: usize,
        /// The first failure, whole.
        message: String,
    },
    /// The user stopped it.
    #[error("{0}")]
    Interrupted(#[from] Interrupted),
}

/// Where and with what the local workers run.
#[derive(Debug, Clone)]
pub struct LocalWorkers {
    /// One worker a device: `cpu`, `cuda:0` ...
    pub devices: Vec<String>,
    /// Intra-op threads of each.
    pub threads: u32,
    /// Root of the slice store.
    pub data: PathBuf,
    /// Root of the artifact store.
    pub artifacts: PathBuf,
    /// Root of the training checkpoints.
    pub checkpoints: PathBuf,
    /// Folder for their logs.
    pub logs: PathBuf,
    /// A lease not renewed for this long is lost.
    pub lease: Duration,
}

/// What a dead shard means to the stage it belongs to.
pub(super) enum OnDeath {
    /// The stage fails.
    GiveUp,
    /// Try again.
    Revive,
}

/// Journal, queue and workers of one run. Queue and workers start with the first thing there is to do.
pub(super) struct Engine {
    pub(super) judge: RunJudge,
    workers: LocalWorkers,
    interrupt: Interrupt,
    running: Option<Running>,
}

/// An open queue with workers on it.
struct Running {
    dispatcher: LocalDispatcher,
    supervisor: Supervisor,
    next_shard: u64,
    /// Declared last: removed once the dispatcher has closed the socket.
    _socket: SocketFolder,
}

/// The folder of the queue's socket. Not in the run folder, since a socket's path is limited to about a hundred
/// bytes; named by it, so that what a killed coordinator left is used again instead of piling up.
struct SocketFolder(PathBuf);

impl SocketFolder {
    fn of(run: &Path) -> Result<Self, EngineError> {
        let run = run.canonicalize().map_err(EngineError::Folder)?;
        let name = Digest::of(run.as_os_str().as_encoded_bytes()).short();
        Ok(Self(std::env::temp_dir().join(format!("anofpdm-{name}"))))
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "the socket's folder stays");
        }
    }
}

impl Running {
    fn start(workers: &LocalWorkers) -> Result<Self, EngineError> {
        let socket = SocketFolder::of(&workers.artifacts)?;
        let config = LeaseConfig {
            ttl: workers.lease,
            ..LeaseConfig::default()
        };
        let dispatcher = LocalDispatcher::listen(&socket.0, config)?;
        let command = WorkerCommand {
            program: worker_program(),
            queue: dispatcher.address(),
            data: workers.data.clone(),
            artifacts: workers.artifacts.clone(),
            checkpoints: workers.checkpoints.clone(),
            logs: workers.logs.clone(),
            threads: workers.threads,
        };
        Ok(Self {
            dispatcher,
            supervisor: Supervisor::start(command, &workers.devices)?,
            next_shard: 0,
            _socket: socket,
        })
    }

    fn submit(&mut self, jobs: Vec<Job>) -> Result<(), EngineError> {
        for job in jobs {
            self.dispatcher
                .submit(vec![Submission::new(self.next_shard, job)])?;
            self.next_shard += 1;
        }
        Ok(())
    }

    /// Serves workers for a moment, replaces dead ones, notices signals and a failed journal.
    fn beat(&mut self, judge: &mut RunJudge, interrupt: &Interrupt) -> Result<(), EngineError> {
        self.supervisor.look_after()?;
        self.dispatcher.serve(judge, BEAT)?;
        if let Some(failure) = judge.failure.take() {
            return Err(failure.into());
        }
        for happened in std::mem::take(&mut judge.happened) {
            if let Happened::Distrusted { worker, reason } = happened {
                self.dispatcher.retire(&worker, &reason)?;
            }
        }
        if interrupt.asked() {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// The error for the shards that were given up.
    fn dead(&self) -> Result<EngineError, EngineError> {
        let letters = self.dispatcher.dead_letters()?;
        let message = match letters.first().map(|letter| (letter, &letter.failure)) {
            Some((_, Failure::Error { class, message })) => format!("{class:?}: {message}"),
            Some((letter, Failure::Crash)) => format!(
                "its workers died {} times; look into the logs folder of the run, then run again",
                letter.crashes
            ),
            None => String::new(),
        };
        Ok(EngineError::Dead {
            shards: letters.len(),
            message,
        })
    }

    /// Ends the workers: they are told, given time, and killed.
    fn stop(mut self, judge: &mut RunJudge) -> Result<(), EngineError> {
        self.dispatcher.drain()?;
        for worker in self.dispatcher.workers()? {
            for lease in worker.leases {
                self.dispatcher.cancel(lease.lease.shard)?;
            }
        }
        let deadline = Instant::now() + STOP_GRACE;
        while self.supervisor.any_alive() && Instant::now() < deadline {
            self.dispatcher.serve(judge, BEAT)?;
        }
        Ok(())
    }
}

impl Engine {
    pub(super) const fn new(judge: RunJudge, workers: LocalWorkers, interrupt: Interrupt) -> Self {
        Self {
            judge,
            workers,
            interrupt,
            running: None,
        }
    }

    /// Queue and workers, started where they are not.
    fn running(&mut self) -> Result<(&mut Running, &mut RunJudge, &Interrupt), EngineError> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.workers)?,
        };
        Ok((
            self.running.insert(running),
            &mut self.judge,
            &self.interrupt,
        ))
    }

    /// The run's numeric profile: that of the first worker, or the one journaled before.
    pub(super) fn profile(&mut self) -> Result<NumericProfile, EngineError> {
        loop {
            if let Some(profile) = &self.judge.journal.ledger().profile {
                return Ok(profile.clone());
            }
            let (running, judge, interrupt) = self.running()?;
            running.beat(judge, interrupt)?;
        }
    }

    /// Runs `jobs` to their end. `watch` is called at every beat with what the workers do; `on_death` decides
    /// about a shard that is out of attempts.
    pub(super) fn complete(
        &mut self,
        jobs: Vec<Job>,
        mut watch: impl FnMut(&RunJudge, &dyn Dispatch),
        mut on_death: impl FnMut(&DeadLetter) -> OnDeath,
    ) -> Result<(), EngineError> {
        let (running, judge, interrupt) = self.running()?;
        running.submit(jobs)?;
        loop {
            watch(judge, &running.dispatcher);
            for letter in running.dispatcher.dead_letters()? {
                match on_death(&letter) {
                    OnDeath::Revive => {
                        running.dispatcher.revive(letter.shard)?;
                    }
                    OnDeath::GiveUp => return Err(running.dead()?),
                }
            }
            if running.dispatcher.counts()?.outstanding() == 0 {
                return Ok(());
            }
            running.beat(judge, interrupt)?;
        }
    }

    /// Ends the workers and gives the journal back.
    pub(super) fn stop(mut self) -> Result<RunJudge, EngineError> {
        if let Some(running) = self.running.take() {
            running.stop(&mut self.judge)?;
        }
        Ok(self.judge)
    }
}
