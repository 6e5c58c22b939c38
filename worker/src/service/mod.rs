//! `anofpdm-worker run`: take a lease, run it, report it.
//!
//! The calling thread owns the device and its model. Renewal has its own thread and renews only while the
//! device thread makes progress, so a hung device loses its lease.

pub mod args;
mod artifacts;
mod forward;
mod renewal;
mod score;
mod slices;
mod training;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::error_text::error_text;
use anofpdm_common::ids::Digest;
use anofpdm_common::queue::{ErrorClass, Lease, QueueError, Take, WorkQueue};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{Completion, Job, Manifest, NumericProfile, Plan, Task, WorkerInfo};
use tch::Device;

use artifacts::{get_plan, put};
use forward::ForwardRunner;
use renewal::{Progress, Renewal};

/// How long one request for work may wait at the coordinator.
const TAKE_WAIT: Duration = Duration::from_secs(5);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Root of the slice store.
    pub data: PathBuf,
    /// Root of the artifact store.
    pub artifacts: PathBuf,
    /// Root of the training checkpoints.
    pub checkpoints: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// What this worker is, numerically.
    pub profile: NumericProfile,
    /// Stop when there is no work instead of waiting for more.
    pub exit_when_idle: bool,
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
    /// The slice store cannot be opened.
    #[error(transparent)]
    Slices(#[from] anofpdm_common::store::slices::StoreError),
    /// The artifact store cannot be opened.
    #[error(transparent)]
    Artifacts(#[from] anofpdm_common::store::artifacts::ArtifactError),
}

/// A job that failed, and what kind of failure it was.
#[derive(Debug)]
pub(crate) struct JobError {
    pub(crate) class: ErrorClass,
    pub(crate) message: String,
}

impl JobError {
    pub(crate) fn new(class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            class,
            message: error_text(error),
        }
    }
}

/// How a job ended.
pub(crate) enum Outcome {
    /// Results are in the artifact store.
    Done(JobResult),
    /// Stopped on request: hand the lease back.
    Stopped,
}

/// What a finished job claims.
pub(crate) struct JobResult {
    pub(crate) entries: Vec<(Digest, Digest)>,
    pub(crate) evaluations: u64,
    pub(crate) padding: u64,
}

struct Service<'a> {
    config: &'a ServiceConfig,
    artifacts: ArtifactStore,
    store: SliceStore,
    /// The plan last used, and the runner with its model: shards of one plan come in a row.
    plan: Option<(Digest, Arc<Plan>)>,
    runner: Option<ForwardRunner>,
}

/// Takes and runs jobs until the queue is finished (or idle, where asked).
///
/// # Errors
/// When the queue refuses this worker or is gone.
pub fn serve(
    queue: &Arc<dyn WorkQueue>,
    info: &WorkerInfo,
    config: &ServiceConfig,
) -> Result<(), ServiceError> {
    let mut service = Service {
        config,
        artifacts: ArtifactStore::open(&config.artifacts)?,
        store: SliceStore::open(&config.data)?,
        plan: None,
        runner: None,
    };
    queue.register(info)?;
    tracing::info!(worker = info.worker, profile = %config.profile, "registered");
    loop {
        match queue.take(TAKE_WAIT)? {
            Take::Leased(lease) => service.run(queue, &lease)?,
            Take::Empty if config.exit_when_idle => return Ok(queue.leave()?),
            Take::Empty => {}
            Take::Finished | Take::Drain => return Ok(queue.leave()?),
            Take::Retired(reason) => return Err(ServiceError::Retired(reason)),
        }
    }
}

impl Service<'_> {
    fn run(&mut self, queue: &Arc<dyn WorkQueue>, lease: &Lease) -> Result<(), ServiceError> {
        let started = Instant::now();
        let renewal = Renewal::start(queue, lease.id, lease.ttl);
        let outcome = self.work(&lease.job, renewal.progress());
        renewal.stop();
        match outcome {
            Ok(Outcome::Done(result)) => {
                let manifest = Manifest {
                    entries: result.entries,
                };
                match put(&self.artifacts, &manifest) {
                    Ok(manifest) => queue.complete(
                        lease,
                        &Completion {
                            manifest,
                            evaluations: result.evaluations,
                            padding: result.padding,
                            device_millis: u64::try_from(started.elapsed().as_millis())
                                .unwrap_or(u64::MAX),
                        },
                    )?,
                    Err(error) => queue.fail(&lease.id, error.class, &error.message)?,
                }
            }
            Ok(Outcome::Stopped) => queue.hand_back(&lease.id)?,
            Err(error) => {
                tracing::error!(class = ?error.class, "{}", error.message);
                queue.fail(&lease.id, error.class, &error.message)?;
            }
        }
        Ok(())
    }

    fn work(&mut self, job: &Job, progress: &Progress) -> Result<Outcome, JobError> {
        let plan = self.plan(job.plan)?;
        match (plan.as_ref(), &job.task) {
            (Plan::Train(plan), Task::Train) => {
                training::run(plan, &self.store, self.config, &self.artifacts, progress)
            }
            (
                Plan::Forward(plan),
                Task::Batches {
                    first,
                    count,
                    cells,
                },
            ) => {
                let runner = self
                    .runner
                    .get_or_insert_with(|| ForwardRunner::new(&self.store, self.config.device));
                let batches = *first..first.saturating_add(*count);
                runner.run(plan, batches, cells, &self.artifacts, progress)
            }
            _ => Err(JobError {
                class: ErrorClass::BadInput,
                message: format!("a {} plan has no such task", job.stage.name()),
            }),
        }
    }

    /// The plan of a job, checked to be one this worker may work on.
    fn plan(&mut self, digest: Digest) -> Result<Arc<Plan>, JobError> {
        if let Some((known, plan)) = &self.plan
            && *known == digest
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(get_plan(&self.artifacts, digest)?);
        let (profile, data) = match plan.as_ref() {
            Plan::Train(plan) => (&plan.profile, plan.data.digest),
            Plan::Forward(plan) => (&plan.profile, plan.data.digest),
        };
        let refuse = |message: String| {
            Err(JobError {
                class: ErrorClass::BadInput,
                message,
            })
        };
        if *profile != self.config.profile {
            return refuse(format!(
                "the plan is for {profile}, this worker is {}",
                self.config.profile
            ));
        }
        let found = self.store.manifest().digest;
        if found != data {
            return refuse(format!(
                "the plan is for slices {}, {} holds {}",
                data.short(),
                self.store.root().display(),
                found.short()
            ));
        }
        self.plan = Some((digest, Arc::clone(&plan)));
        Ok(plan)
    }
}
