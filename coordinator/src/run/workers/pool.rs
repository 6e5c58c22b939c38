//! The queue of a run and the workers this coordinator has started on it.
//!
//! With the local queue the coordinator is the queue and starts its workers itself. With Redis, workers come from
//! anywhere; this coordinator starts some of its own only where that is asked for.
//!
//! Queue and workers start with the first thing there is to do: a run whose records are all there needs neither.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::instance;
use anofpdm_common::queue::local::LocalDispatcher;
use anofpdm_common::queue::redis::RedisDispatcher;
use anofpdm_common::queue::{Dispatch, LeaseConfig, QueueError, WorkerStatus};
use anofpdm_common::store::location::Location;

use super::supervisor::{Supervisor, WorkerCommand, worker_program};
use crate::run::error::SchedulerError;
use crate::run::operators::run_metrics::{RunMetrics, WorkerEvent};
use crate::run::result_committer::ResultCommitter;
use crate::run::warn_once::WarnOnce;

/// How long workers may take to stop in good order.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// How old the list of workers may be.
const WORKERS_EVERY: Duration = Duration::from_millis(500);

/// How long a run waits for a worker before it says what to do, and how long until it says so again.
const NOBODY_AFTER: Duration = Duration::from_secs(10);
const NOBODY_AGAIN: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueChoice {
    /// The coordinator itself, over a Unix socket.
    Local,
    /// A Redis server, at this address.
    Redis(String),
}

/// Where and with what this coordinator's own workers run.
#[derive(Debug, Clone)]
pub(in crate::run) struct PoolOptions {
    pub(in crate::run) queue: QueueChoice,
    /// One worker a device: `cpu`, `cuda:0` ...
    pub(in crate::run) devices: Vec<String>,
    pub(in crate::run) threads: u32,
    pub(in crate::run) data: Location,
    pub(in crate::run) artifacts: PathBuf,
    pub(in crate::run) checkpoints: PathBuf,
    pub(in crate::run) logs: PathBuf,
    /// A lease not renewed for this long is lost.
    pub(in crate::run) lease: Duration,
}

/// The queue of one run and the workers on it, opened at the first need.
pub(in crate::run) struct WorkerPool {
    options: PoolOptions,
    run: String,
    open: Option<OpenPool>,
    metrics: RunMetrics,
}

struct OpenPool {
    queue: Box<dyn Dispatch>,
    supervisor: Option<Supervisor>,
    address: String,
    workers: Vec<WorkerStatus>,
    looked: Option<Instant>,
    nobody: WarnOnce,
    /// Declared last: removed once the dispatcher has closed the socket.
    socket: Option<SocketFolder>,
}

/// The folder of the queue's socket. Not in the run folder, since a socket's path is limited to about a hundred
/// bytes; named by it, so that what a killed coordinator left is used again instead of piling up.
struct SocketFolder(PathBuf);

impl SocketFolder {
    fn of(run: &Path) -> Result<Self, SchedulerError> {
        let run = run.canonicalize().map_err(SchedulerError::Folder)?;
        let name = Digest::of(run.as_os_str().as_encoded_bytes()).short();
        // Put together again: `//tmp` would look like the address of another kind of queue.
        let folder: PathBuf = std::env::temp_dir().components().collect();
        Ok(Self(folder.join(format!("anofpdm-{name}"))))
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "the socket's folder stays");
        }
    }
}

impl WorkerPool {
    pub(in crate::run) const fn new(
        options: PoolOptions,
        run: String,
        metrics: RunMetrics,
    ) -> Self {
        Self {
            options,
            run,
            open: None,
            metrics,
        }
    }

    pub(in crate::run) fn run(&self) -> &str {
        &self.run
    }

    pub(in crate::run) fn queue(&mut self) -> Result<&mut dyn Dispatch, SchedulerError> {
        Ok(self.opened()?.queue.as_mut())
    }

    fn opened(&mut self) -> Result<&mut OpenPool, SchedulerError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => OpenPool::start(&self.options, &self.run)?,
        };
        Ok(self.open.insert(open))
    }

    /// The queue as it stands and what workers connect to; none before it was opened.
    pub(in crate::run) fn view(&self) -> Option<(&dyn Dispatch, &str)> {
        let open = self.open.as_ref()?;
        Some((open.queue.as_ref(), &open.address))
    }

    /// Serves workers for a moment and replaces dead ones of our own.
    pub(in crate::run) fn poll(
        &mut self,
        committer: &mut ResultCommitter,
        wait: Duration,
    ) -> Result<(), SchedulerError> {
        let restarted = self.opened()?.poll(committer, wait)?;
        for _ in 0..restarted {
            self.metrics.worker(WorkerEvent::Restarted);
        }
        Ok(())
    }

    /// The workers there are, as of a moment ago.
    pub(in crate::run) fn workers(&self) -> &[WorkerStatus] {
        self.open.as_ref().map_or(&[], |open| &open.workers)
    }

    fn supervisor(&self) -> Option<&Supervisor> {
        self.open.as_ref()?.supervisor.as_ref()
    }

    /// How long a fresh lease lives.
    pub(in crate::run) const fn lease(&self) -> Duration {
        self.options.lease
    }

    /// Workers this coordinator starts itself.
    pub(in crate::run) fn own_workers(&self) -> usize {
        self.supervisor().map_or(0, Supervisor::devices)
    }

    /// Those of them that are there or will be: all but the ones on devices that were given up.
    pub(in crate::run) fn workers_to_come(&self) -> usize {
        self.supervisor().map_or(0, Supervisor::usable_devices)
    }

    /// Ticks of the lease that is furthest, of a training job its step, and what its worker says of it.
    pub(in crate::run) fn furthest(&self) -> (u64, &str) {
        let leases = self.workers().iter().flat_map(|worker| &worker.leases);
        let said = leases.map(|lease| (lease.progress.ticks, lease.progress.note.as_str()));
        said.max().unwrap_or_default()
    }

    /// Ends a worker that does not answer, if this coordinator has started it: another takes its place.
    pub(in crate::run) fn replace(&mut self, worker: &str) {
        let Some(open) = &mut self.open else {
            return;
        };
        let Some(info) = open
            .workers
            .iter()
            .find_map(|status| (status.info.worker == worker).then_some(&status.info))
        else {
            return;
        };
        // The number alone could be another machine's process.
        let here = instance::host_name() == info.host;
        if let Some(supervisor) = open.supervisor.as_mut().filter(|_| here)
            && supervisor.kill(info.pid)
        {
            tracing::warn!(
                worker,
                "a worker that does not answer is ended and replaced"
            );
        }
    }

    /// Ends this coordinator's part in good order: nothing new is begun, its own workers hand back and end. In Redis
    /// what other workers have begun goes on, and its result waits there for the next start.
    pub(in crate::run) fn stop(
        self,
        committer: &mut ResultCommitter,
    ) -> Result<(), SchedulerError> {
        self.open.map_or(Ok(()), |open| open.stop(committer))
    }

    /// The run is over: its own workers end, and nothing of it stays in the queue. Its results are there, so nothing that
    /// goes wrong now is an error.
    pub(in crate::run) fn close(self, committer: &mut ResultCommitter) {
        match self.open {
            Some(mut open) => {
                if let Err(error) = open.close(committer) {
                    tracing::warn!(%error, "the run is done, but its queue did not end in good order");
                }
            }
            None => clear(&self.options.queue, &self.run),
        }
    }
}

impl OpenPool {
    /// Opens the queue of `run` and starts the workers.
    fn start(options: &PoolOptions, run: &str) -> Result<Self, SchedulerError> {
        let config = LeaseConfig {
            ttl: options.lease,
            ..LeaseConfig::default()
        };
        let (queue, address, socket): (Box<dyn Dispatch>, _, _) = match &options.queue {
            QueueChoice::Local => {
                let socket = SocketFolder::of(&options.artifacts)?;
                let queue = LocalDispatcher::listen(&socket.0, config)?;
                let address = queue.address();
                (Box::new(queue), address, Some(socket))
            }
            QueueChoice::Redis(url) => {
                let queue = RedisDispatcher::open(url, run, config)?;
                let address = queue.address();
                tracing::info!(queue = address, run, "the run is in the queue");
                (Box::new(queue), address, None)
            }
        };
        let supervisor = match options.devices.as_slice() {
            [] => None,
            devices => {
                let command = WorkerCommand {
                    program: worker_program(),
                    queue: address.clone(),
                    data: options.data.clone(),
                    artifacts: options.artifacts.clone(),
                    checkpoints: options.checkpoints.clone(),
                    logs: options.logs.clone(),
                    threads: options.threads,
                    run: run.to_owned(),
                };
                Some(Supervisor::start(command, devices)?)
            }
        };
        Ok(Self {
            queue,
            supervisor,
            address,
            workers: Vec::new(),
            looked: None,
            nobody: WarnOnce::after(NOBODY_AFTER, NOBODY_AGAIN),
            socket,
        })
    }

    /// Returns how many workers were started again.
    fn poll(
        &mut self,
        committer: &mut ResultCommitter,
        wait: Duration,
    ) -> Result<usize, SchedulerError> {
        let restarted = match &mut self.supervisor {
            Some(supervisor) => supervisor.look_after()?,
            None => 0,
        };
        self.queue.serve(committer, wait)?;
        if self.looked.is_none_or(|at| at.elapsed() >= WORKERS_EVERY) {
            self.looked = Some(Instant::now());
            self.workers = self.queue.workers()?;
            self.warn_if_nobody();
        }
        Ok(restarted)
    }

    fn warn_if_nobody(&mut self) {
        if !self.workers.is_empty() || self.supervisor.is_some() {
            self.nobody.reset();
        } else if self.nobody.is_due(Instant::now()) {
            tracing::warn!(
                "no worker is there; start one where a device is: anofpdm-worker run --queue {} --device cuda:0 --data FOLDER --artifacts FOLDER (folders that hold the slice store and this run)",
                self.address
            );
        }
    }

    fn stop(mut self, committer: &mut ResultCommitter) -> Result<(), SchedulerError> {
        self.queue.drain()?;
        let Some(mut supervisor) = self.supervisor.take() else {
            return Ok(());
        };
        if self.socket.is_some() {
            for worker in self.queue.workers()? {
                for lease in worker.leases {
                    self.queue.cancel(lease.lease.shard)?;
                }
            }
        }
        let deadline = Instant::now() + STOP_GRACE;
        while supervisor.any_alive() && Instant::now() < deadline {
            if self.socket.is_none() {
                // The second time, what is at work is handed back.
                supervisor.ask_to_end();
            }
            self.queue.serve(committer, Duration::from_millis(500))?;
        }
        Ok(())
    }

    fn close(&mut self, committer: &mut ResultCommitter) -> Result<(), QueueError> {
        self.queue.finish()?;
        let deadline = Instant::now() + STOP_GRACE;
        if let Some(mut supervisor) = self.supervisor.take() {
            while supervisor.any_alive() && Instant::now() < deadline {
                self.queue.serve(committer, Duration::from_millis(200))?;
            }
        }
        self.queue.close()
    }
}

/// Takes a run that is over out of a Redis that a killed coordinator left it in; nothing to do elsewhere. A server that
/// cannot be reached is no reason to fail a run that needs it no more.
pub(in crate::run) fn clear(queue: &QueueChoice, run: &str) {
    let QueueChoice::Redis(url) = queue else {
        return;
    };
    let cleared =
        RedisDispatcher::open(url, run, LeaseConfig::default()).and_then(|mut queue| queue.close());
    if let Err(error) = cleared {
        tracing::warn!(%error, run, "the run is over, but what may be left of it in the queue stays there");
    }
}

/// The queue's answer; none while its server is away for a moment, since what was to be said can be said again later. The
/// one place that knows which failures of a queue are none.
pub(in crate::run) fn if_reachable<T>(
    answer: Result<T, QueueError>,
) -> Result<Option<T>, QueueError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_transient() => {
            tracing::debug!(%error, "the queue is away: it is asked again later");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
