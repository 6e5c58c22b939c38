//! `anofpdm-worker run`: take a lease, run it, report it.
//!
//! The calling thread owns the device and its networks; what it asks of them goes through a
//! [`Backend`]. Beside it, while a lease is held, run:
//!
//! - the renewal thread, which renews the lease only while the device thread makes progress, so that a hung device loses
//!   its lease;
//! - for a shard, one thread that reads the next batch and one that makes and stores the records of the last;
//! - for a rank of a training, the watchdog, which aborts what the rank waits for when its gang is called off.
//!
//! A job ends in one of four ways. It is done: its records lie in the artifact store, and the queue is told the digest of
//! their manifest. It is stopped, because the lease is lost or this worker is to end: the lease goes back. It fails, a
//! panic included, since `tch` panics where libtorch throws: the queue is told the class of the failure and decides. Or
//! the process cannot go on: its device is lost, or libtorch's state after a torn gang cannot be trusted.

pub mod args;
mod artifacts;
pub(crate) mod batch_reader;
pub mod device_failure;
pub mod drain;
mod exhibit;
mod forward;
mod gpu_metrics;
mod job_error;
mod lease_renewal;
pub mod liveness;
mod network_cache;
mod out_of_memory;
mod queue_rendezvous;
mod rank_watchdog;
mod read_ahead;
mod record_writer;
mod restore;
mod restored;
mod retry_pause;
mod score;
mod shard;
mod step_times;
pub mod store_locator;
mod training;
mod trial;
pub mod worker_metrics;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{
    BatchRun, Completion, Manifest, NumericProfile, Plan, Task, Trajectory, WorkerInfo,
};
use anofpdm_common::queue::{ErrorClass, Lease, LeaseId, QueueError, Take, WorkQueue};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::location::Location;

use crate::backend::Backend;

use artifacts::{get_plan, put};
use drain::Drain;

use job_error::JobError;
use lease_renewal::{JobProgress, LeaseRenewal};
use liveness::{Liveness, notify};
use network_cache::NetworkCache;
use queue_rendezvous::QueueRendezvous;
use retry_pause::RetryPause;
use shard::{Shard, ShardCells};
use store_locator::{StoreLocator, StoreLocatorError};
use training::Training;
use trial::Trial;
use worker_metrics::{WorkerMetrics, WorkerState};

/// How long one request for work may wait at the queue; a worker asked to end notices after that.
const TAKE_WAIT: Duration = Duration::from_secs(1);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The run to serve, for the log where the queue does not tell; `None` serves all.
    pub run: Option<String>,
    /// A slice store, or a folder above some.
    pub data: Location,
    /// An artifact store, or a folder above some.
    pub artifacts: Location,
    /// Root of the training checkpoints; `None` is `checkpoints` beside the artifact store in use.
    pub checkpoints: Option<PathBuf>,
    /// Host name or address at which other ranks of a training reach this worker.
    pub address: String,
    /// What this worker is, numerically.
    pub profile: NumericProfile,
    /// Stop when there has been no work for so long; `None` waits for more.
    pub exit_when_idle: Option<Duration>,
    pub metrics: WorkerMetrics,
    /// What watches that a job moves on.
    pub liveness: Liveness,
}

/// Why the loop ended before the queue was finished.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the coordinator retired this worker: {0}")]
    Retired(String),
    #[error("the device is lost, this worker ends: {0}")]
    DeviceLost(String),
    /// Ranks that trained together were torn apart: nothing of this process can be relied on any more.
    #[error("the other ranks of a training are lost; this worker starts afresh")]
    Restart,
    #[error(transparent)]
    StoreLocator(#[from] StoreLocatorError),
}

impl WorkerError {
    /// True when another worker on this device would fare no better.
    pub const fn ends_the_device(&self) -> bool {
        matches!(self, Self::Retired(_) | Self::DeviceLost(_))
    }
}

/// How a job ended.
enum JobOutcome {
    /// Results are in the artifact store.
    Done(JobResult),
    /// Stopped on request: hand the lease back.
    Stopped,
}

/// What a finished job claims.
struct JobResult {
    entries: Vec<(Digest, Digest)>,
    evaluations: u64,
    padding: u64,
}

struct WorkerLoop<'a> {
    config: &'a WorkerConfig,
    stores: StoreLocator,
    /// The plan last used: shards of one plan come in a row.
    plan: Option<(Digest, Arc<Plan>)>,
    networks: NetworkCache,
}

/// Takes jobs and runs them on `backend` until the queue is finished (or idle, where asked), or `drain` says to end.
///
/// # Errors
/// When a root is no folder, the queue refuses this worker or is gone, the worker is retired, or its device
/// is lost.
pub fn serve(
    queue: &Arc<dyn WorkQueue>,
    info: &WorkerInfo,
    config: &WorkerConfig,
    backend: Box<dyn Backend>,
    drain: &Arc<Drain>,
) -> Result<(), WorkerError> {
    let mut worker = WorkerLoop {
        config,
        stores: StoreLocator::new(&config.data, &config.artifacts)?,
        plan: None,
        networks: NetworkCache::new(backend),
    };
    queue.register(info)?;
    tracing::info!(worker = info.worker, profile = %config.profile, "registered");
    notify(&[sd_notify::NotifyState::Ready]);
    let mut pause = RetryPause::default();
    let mut idle_since = Instant::now();
    while !drain.asked() {
        let taken = queue.take(TAKE_WAIT)?;
        if taken != Take::Empty {
            idle_since = Instant::now();
        }
        match taken {
            Take::Leased(lease) if drain.asked() => queue.release(&lease.id)?,
            Take::Leased(lease) => match worker.run(queue, &lease, drain)? {
                None => pause.reset(),
                Some(error) if error.class == ErrorClass::DeviceLost => {
                    // Its end is told already by the failure; leaving is courtesy.
                    if let Err(second) = queue.leave() {
                        tracing::warn!(error = %second, "cannot leave the queue in good order");
                    }
                    return Err(WorkerError::DeviceLost(error.message));
                }
                Some(error) if error.restart && !drain.asked() => {
                    if let Err(second) = queue.leave() {
                        tracing::warn!(error = %second, "cannot leave the queue in good order");
                    }
                    return Err(WorkerError::Restart);
                }
                Some(error) if error.caused_here => {
                    let wait = pause.after_failure();
                    tracing::warn!(
                        seconds = wait.as_secs(),
                        "the fault is with this worker: it pauses before it takes more"
                    );
                    config.metrics.set_state(WorkerState::Paused);
                    drain.wait(wait);
                    config.metrics.set_state(WorkerState::Idle);
                }
                Some(_) => {}
            },
            Take::Empty
                if config
                    .exit_when_idle
                    .is_some_and(|longest| idle_since.elapsed() >= longest) =>
            {
                break;
            }
            Take::Empty => {}
            Take::Finished | Take::Drain => break,
            Take::Retired(reason) => return Err(WorkerError::Retired(reason)),
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    Ok(queue.leave()?)
}

impl WorkerLoop<'_> {
    /// Runs one lease and reports how it went; returns the failure, if it was one.
    fn run(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        drain: &Arc<Drain>,
    ) -> Result<Option<JobError>, WorkerError> {
        let started = Instant::now();
        let run = queue.run_of(&lease.id).or_else(|| self.config.run.clone());
        let LeaseId { shard, epoch } = lease.id;
        let _context = tracing::info_span!("shard", run, shard, epoch).entered();
        let renewal = LeaseRenewal::start(queue, lease.id, lease.ttl, drain);
        let metrics = &self.config.metrics;
        metrics.set_state(WorkerState::of(&lease.job.task));
        // Of a device that hangs its driver may hang too: it is asked while somebody watches.
        let (worked, drawn) = {
            let _at_work = self.config.liveness.begin(renewal.progress());
            let before = metrics.gpu.energy();
            let worked = self.within_memory(queue, lease, renewal.progress());
            let drawn = metrics.gpu.energy().zip(before);
            (
                worked,
                drawn.map(|(after, before)| after.saturating_sub(before)),
            )
        };
        metrics.set_state(WorkerState::Idle);
        renewal.stop();
        match worked {
            Ok(Some(mut completion)) => {
                completion.device_millis =
                    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                completion.millijoules = drawn;
                queue.complete(lease, &completion)?;
                Ok(None)
            }
            Ok(None) => {
                queue.release(&lease.id)?;
                Ok(None)
            }
            Err(error) if error.called_off => {
                queue.release(&lease.id)?;
                Ok(Some(error))
            }
            Err(error) => {
                tracing::error!(class = ?error.class, "{}", error.message);
                queue.fail(&lease.id, error.class, &error.message)?;
                Ok(Some(error))
            }
        }
    }

    /// Works on a job. One that runs out of memory is begun again once, with the device all for itself: what was there
    /// before, networks and the allocator's pieces, may have been too much. Where that does not help nothing does but a
    /// smaller batch.
    fn within_memory(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<JobProgress>,
    ) -> Result<Option<Completion>, JobError> {
        let is_full = |error: &JobError| error.class == ErrorClass::OutOfMemory;
        let mut worked = self.guarded(queue, lease, progress);
        let world = match lease.job.task {
            Task::Train(rank) => rank.world,
            Task::Batches(_) | Task::Trial => 1,
        };
        // The other ranks of a gang are not where they were.
        if let Err(error) = &worked
            && is_full(error)
            && world == 1
        {
            tracing::error!(
                "memory is full; begun again with all of it free: {}",
                error.message
            );
            self.networks.free_memory();
            worked = self.guarded(queue, lease, progress);
        }
        worked.map_err(|mut error| {
            if is_full(&error)
                && let Some((_, plan)) = &self.plan
            {
                let advice = out_of_memory::advice(plan, world);
                error.message = format!("{advice}: {}", error.message);
            }
            error
        })
    }

    /// Works on a job; a panic is a failure of the job, after which nothing on the device is trusted.
    fn guarded(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<JobProgress>,
    ) -> Result<Option<Completion>, JobError> {
        // A panic inside `tch::no_grad` leaves gradients off: each job begins with the default.
        let worked = tch::with_grad(|| {
            catch_unwind(AssertUnwindSafe(|| self.work(queue, lease, progress)))
                .unwrap_or_else(|payload| Err(JobError::from_panic(payload.as_ref())))
        });
        if let Err(error) = &worked
            && error.class != ErrorClass::BadInput
        {
            // Frees the memory of the device, and whatever state the model was left in.
            self.networks.unload();
        }
        worked
    }

    /// What the job yields; `None` when it was asked to stop.
    fn work(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<JobProgress>,
    ) -> Result<Option<Completion>, JobError> {
        let job = &lease.job;
        let artifacts = self.stores.artifacts(&job.plan)?;
        let plan = self.plan(job.plan, &artifacts)?;
        let bad_task = || {
            JobError::text(
                ErrorClass::BadInput,
                format!("a {} plan has no such task", job.stage.name()),
            )
        };
        let outcome = match (plan.as_ref(), &job.task) {
            (Plan::Train(plan), Task::Train(rank)) => {
                let checkpoints = self.checkpoints(&artifacts)?;
                let training = Training {
                    plan,
                    rank: *rank,
                    rendezvous: Arc::new(QueueRendezvous::new(queue, lease, progress)),
                    address: &self.config.address,
                    slices: &self.stores.slices(&plan.data.digest)?,
                    artifacts: &artifacts,
                    checkpoints: &checkpoints,
                    progress,
                    metrics: &self.config.metrics.train,
                };
                // A network kept for scoring would only take its memory.
                training.run(self.networks.unloaded_backend())?
            }
            (
                Plan::Forward(plan),
                Task::Batches(BatchRun {
                    first,
                    count,
                    cells,
                }),
            ) => {
                let shard = Shard {
                    plan,
                    batches: *first..first.checked_add(*count).ok_or_else(bad_task)?,
                    cells,
                    slices: &self.stores.slices(&plan.data.digest)?,
                    artifacts: &artifacts,
                    progress,
                    metrics: &self.config.metrics.batches,
                };
                let cells = ShardCells::of(&shard)?;
                let networks = &mut self.networks;
                match cells.trajectory {
                    Trajectory::Forward(walk) => forward::run(&shard, &cells, walk, networks)?,
                    Trajectory::Restoration(walk) => restore::run(&shard, &cells, walk, networks)?,
                }
            }
            (Plan::Trial(plan), Task::Trial) => {
                let trial = Trial {
                    plan,
                    slices: &self.stores.slices(&plan.forward.data.digest)?,
                    artifacts: &artifacts,
                    progress,
                };
                trial.run(&mut self.networks)?
            }
            _ => return Err(bad_task()),
        };
        let JobOutcome::Done(result) = outcome else {
            return Ok(None);
        };
        let manifest = Manifest {
            entries: result.entries,
        };
        Ok(Some(Completion {
            manifest: put(&artifacts, &manifest)?,
            evaluations: result.evaluations,
            padding: result.padding,
            device_millis: 0,
            millijoules: None,
        }))
    }

    /// Where the checkpoints of a training lie, which the next rank 0 may read on another machine.
    fn checkpoints(&self, artifacts: &ArtifactStore) -> Result<PathBuf, JobError> {
        match (&self.config.checkpoints, &self.config.artifacts) {
            (Some(folder), _) => Ok(folder.clone()),
            (None, Location::Local(_)) => Ok(artifacts.root().with_file_name("checkpoints")),
            (None, Location::Remote(url)) => Err(JobError::text(
                ErrorClass::Transient,
                format!(
                    "records lie in {url}, which has no place for checkpoints: start workers that may train with --checkpoints FOLDER, the run's own (RUN/checkpoints), on a disk that all of them share"
                ),
            )
            .caused_here()),
        }
    }

    /// The plan of a job, checked to be one this worker may work on.
    fn plan(&mut self, digest: Digest, artifacts: &ArtifactStore) -> Result<Arc<Plan>, JobError> {
        if let Some((known, plan)) = &self.plan
            && *known == digest
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(get_plan(artifacts, digest)?);
        let profile = match plan.as_ref() {
            Plan::Train(plan) => &plan.profile,
            Plan::Forward(plan) => &plan.profile,
            Plan::Trial(plan) => &plan.forward.profile,
        };
        if *profile != self.config.profile {
            return Err(JobError::text(
                ErrorClass::BadInput,
                format!(
                    "the plan is for {profile}, this worker is {}",
                    self.config.profile
                ),
            ));
        }
        self.plan = Some((digest, Arc::clone(&plan)));
        Ok(plan)
    }
}
