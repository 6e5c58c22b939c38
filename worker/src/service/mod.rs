//! `anofpdm-worker run`: take a lease, run it, report it.
//!
//! The calling thread owns the device and its model. Renewal has its own thread and renews only while the
//! device thread makes progress, so a hung device loses its lease. A job that panics, as `tch` does when
//! libtorch throws, is a failed job; a worker whose device is gone ends.
//!
//! | module | concept |
//! |---|---|
//! | [`args`] | the command line |
//! | [`drain`] | ending in good order |
//! | [`roots`] | stores found by the digest of what they hold |
//! | `artifacts` | plans, manifests and records in the artifact store |
//! | `batches` | the batches of a shard, one after another |
//! | `failure` | classes of failed jobs |
//! | `forward` | shards of AnoFPDM |
//! | `meeting` | where the ranks of a training find each other |
//! | `models` | the networks on the device |
//! | `pause` | the pause after a failure of this worker's own |
//! | `read_ahead` | the next batch, read while the present one is computed |
//! | `renewal` | the lease, kept alive |
//! | `restore` | shards of the baselines |
//! | `restored` | from restored slices to records |
//! | `score` | from a pass of AnoFPDM to records |
//! | `slices` | from the slice store to a tensor |
//! | `training` | training jobs |
//! | `trial` | number formats compared |
//! | `watch` | a rank and its peers |

pub mod args;
mod artifacts;
mod batches;
pub mod drain;
mod failure;
mod forward;
mod meeting;
mod models;
mod pause;
mod read_ahead;
mod renewal;
mod restore;
mod restored;
pub mod roots;
mod score;
mod slices;
mod training;
mod trial;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::{ErrorClass, Lease, QueueError, Take, WorkQueue};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::telemetry::metrics::Metrics;
use anofpdm_common::work::{
    BatchRun, Completion, Manifest, NumericProfile, Plan, Task, Trajectory, WorkerInfo,
};
use tch::Device;

use crate::fake::FakeDevice;

use artifacts::{get_plan, put};
use batches::{Columns, Shard};
use drain::Drain;
use failure::JobError;
use meeting::Meeting;
use models::Models;
use pause::Pause;
use renewal::{Progress, Renewal};
use roots::{RootError, Roots};
use training::Training;
use trial::Trial;

/// How long one request for work may wait at the queue; a worker asked to end notices after that.
const TAKE_WAIT: Duration = Duration::from_secs(1);

/// How long a worker that is to stop when idle waits for work.
const IDLE: Duration = Duration::from_secs(5);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// A slice store, or a folder above some.
    pub data: PathBuf,
    /// An artifact store, or a folder above some.
    pub artifacts: PathBuf,
    /// Root of the training checkpoints; `None` is `checkpoints` beside the artifact store in use.
    pub checkpoints: Option<PathBuf>,
    /// Host name or address at which other ranks of a training reach this worker.
    pub address: String,
    /// Where to compute.
    pub device: Device,
    /// What this worker is, numerically.
    pub profile: NumericProfile,
    /// Stop when there is no work instead of waiting for more.
    pub exit_when_idle: bool,
    /// What is counted here.
    pub metrics: Metrics,
}

/// Why the service stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The queue failed or refused this worker.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The coordinator does not trust this worker any more.
    #[error("the coordinator retired this worker: {0}")]
    Retired(String),
    /// The device answers nothing any more.
    #[error("the device is lost, this worker ends: {0}")]
    DeviceLost(String),
    /// Ranks that trained together were torn apart: nothing of this process can be relied on any more.
    #[error("the other ranks of a training are lost; this worker starts afresh")]
    Afresh,
    /// A root is no folder.
    #[error(transparent)]
    Roots(#[from] RootError),
}

impl ServiceError {
    /// True when another worker on this device would fare no better.
    pub const fn ends_the_device(&self) -> bool {
        matches!(self, Self::Retired(_) | Self::DeviceLost(_))
    }
}

/// How a job ended.
enum Outcome {
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

struct Service<'a> {
    config: &'a ServiceConfig,
    fake: Option<FakeDevice>,
    roots: Roots,
    /// The plan last used: shards of one plan come in a row.
    plan: Option<(Digest, Arc<Plan>)>,
    models: Models,
}

/// Takes and runs jobs until the queue is finished (or idle, where asked), or `drain` says to end. With `fake`,
/// nothing is computed on the device.
///
/// # Errors
/// When a root is no folder, the queue refuses this worker or is gone, the worker is retired, or its device
/// is lost.
pub fn serve(
    queue: &Arc<dyn WorkQueue>,
    info: &WorkerInfo,
    config: &ServiceConfig,
    fake: Option<FakeDevice>,
    drain: &Arc<Drain>,
) -> Result<(), ServiceError> {
    let mut service = Service {
        config,
        fake,
        roots: Roots::new(&config.data, &config.artifacts)?,
        plan: None,
        models: Models::new(config.device),
    };
    queue.register(info)?;
    tracing::info!(worker = info.worker, profile = %config.profile, "registered");
    let mut pause = Pause::default();
    let mut idle_since = Instant::now();
    while !drain.asked() {
        let taken = queue.take(TAKE_WAIT)?;
        if taken != Take::Empty {
            idle_since = Instant::now();
        }
        match taken {
            Take::Leased(lease) if drain.asked() => queue.hand_back(&lease.id)?,
            Take::Leased(lease) => match service.run(queue, &lease, drain)? {
                None => pause.reset(),
                Some(error) if error.class == ErrorClass::DeviceLost => {
                    // Its end is told already by the failure; leaving is courtesy.
                    if let Err(second) = queue.leave() {
                        tracing::warn!(error = %second, "cannot leave the queue in good order");
                    }
                    return Err(ServiceError::DeviceLost(error.message));
                }
                Some(error) if error.afresh && !drain.asked() => {
                    if let Err(second) = queue.leave() {
                        tracing::warn!(error = %second, "cannot leave the queue in good order");
                    }
                    return Err(ServiceError::Afresh);
                }
                Some(error) if error.own_fault => {
                    let wait = pause.after_failure();
                    tracing::warn!(
                        seconds = wait.as_secs(),
                        "the fault is with this worker: it pauses before it takes more"
                    );
                    drain.wait(wait);
                }
                Some(_) => {}
            },
            Take::Empty if config.exit_when_idle && idle_since.elapsed() >= IDLE => break,
            Take::Empty => {}
            Take::Finished | Take::Drain => break,
            Take::Retired(reason) => return Err(ServiceError::Retired(reason)),
        }
    }
    Ok(queue.leave()?)
}

impl Service<'_> {
    /// Runs one lease and reports how it went; returns the failure, if it was one.
    fn run(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        drain: &Arc<Drain>,
    ) -> Result<Option<JobError>, ServiceError> {
        let started = Instant::now();
        let renewal = Renewal::start(queue, lease.id, lease.ttl, drain);
        let worked = self.guarded(queue, lease, renewal.progress());
        renewal.stop();
        match worked {
            Ok(Some(mut completion)) => {
                completion.device_millis =
                    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                queue.complete(lease, &completion)?;
                Ok(None)
            }
            Ok(None) => {
                queue.hand_back(&lease.id)?;
                Ok(None)
            }
            Err(error) if error.called_off => {
                queue.hand_back(&lease.id)?;
                Ok(Some(error))
            }
            Err(error) => {
                tracing::error!(class = ?error.class, "{}", error.message);
                queue.fail(&lease.id, error.class, &error.message)?;
                Ok(Some(error))
            }
        }
    }

    /// Works on a job; a panic is a failure of the job, after which nothing on the device is trusted.
    fn guarded(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<Progress>,
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
            self.models.unload();
        }
        worked
    }

    /// What the job yields; `None` when it was asked to stop.
    fn work(
        &mut self,
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<Progress>,
    ) -> Result<Option<Completion>, JobError> {
        let job = &lease.job;
        let artifacts = self.roots.artifacts(&job.plan)?;
        let plan = self.plan(job.plan, &artifacts)?;
        let bad_task = || {
            JobError::text(
                ErrorClass::BadInput,
                format!("a {} plan has no such task", job.stage.name()),
            )
        };
        let outcome = match (plan.as_ref(), &job.task) {
            (Plan::Train(plan), Task::Train(rank)) => {
                let beside = || artifacts.root().with_file_name("checkpoints");
                let training = Training {
                    plan,
                    rank: *rank,
                    meeting: Arc::new(Meeting::new(queue, lease, progress)),
                    address: &self.config.address,
                    slices: &self.roots.slices(&plan.data.digest)?,
                    artifacts: &artifacts,
                    checkpoints: &self.config.checkpoints.clone().unwrap_or_else(beside),
                    progress,
                    metrics: &self.config.metrics.train,
                };
                match &mut self.fake {
                    Some(fake) => training.pretend(fake)?,
                    None => {
                        // A model kept for scoring would only take its memory.
                        self.models.unload();
                        training.run(self.config.device)?
                    }
                }
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
                    slices: &self.roots.slices(&plan.data.digest)?,
                    artifacts: &artifacts,
                    progress,
                };
                let columns = Columns::of(&shard)?;
                let (models, fake) = (&mut self.models, self.fake.as_mut());
                match columns.trajectory {
                    Trajectory::Forward(walk) => {
                        forward::run(&shard, &columns, walk, models, fake)?
                    }
                    Trajectory::Restoration(walk) => {
                        restore::run(&shard, &columns, walk, models, fake)?
                    }
                }
            }
            (Plan::Trial(plan), Task::Trial) => {
                let trial = Trial {
                    plan,
                    slices: &self.roots.slices(&plan.forward.data.digest)?,
                    artifacts: &artifacts,
                    progress,
                };
                trial.run(&mut self.models)?
            }
            _ => return Err(bad_task()),
        };
        let Outcome::Done(result) = outcome else {
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
        }))
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

#[cfg(test)]
mod tests;
