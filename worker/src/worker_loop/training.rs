//! Training jobs: the trainer, fed from the store, its weights put into the artifact store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{GangRank, TrainPlan};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::{SliceStore, StoreError};
use anofpdm_common::telemetry::training::{TrainMetrics, TrainStep};
use tch::Kind;

use crate::backend::Backend;
use crate::collective::{CollectiveError, Group, Membership, Rendezvous};
use crate::train::store_slices::StoreSlices;
use crate::train::{Cached, Control, Identity, Ranks, TrainError, TrainRequest, TrainingData};

use super::device_failure::is_of_a_gpu;
use super::job_error::JobError;
use super::lease_renewal::JobProgress;
use super::queue_rendezvous::{QueueRendezvous, QueueRendezvousError};
use super::rank_watchdog::RankWatchdog;
use super::{JobOutcome, JobResult};

/// Memory for training slices; the rest is read from the store again each epoch.
const CACHE_BYTES: usize = 1 << 30;

/// How long the first ranks wait for the last: another run may have their workers for now.
const ALL_RANKS_WAIT: Duration = Duration::from_secs(60);

/// How long a rank of a generation that is over waits to be called off.
const WAIT_WHEN_LOST: Duration = Duration::from_secs(10);

/// Pause between two looks at whether this rank is still wanted.
const WAIT_EVERY: Duration = Duration::from_millis(50);

/// One training and what it is done with.
pub(super) struct Training<'a> {
    pub(super) plan: &'a TrainPlan,
    /// Which rank of which gang this is.
    pub(super) rank: GangRank,
    /// Where it finds the others.
    pub(super) rendezvous: Arc<QueueRendezvous>,
    /// Host name or address at which they reach it.
    pub(super) address: &'a str,
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    /// Folder of the checkpoints of all networks.
    pub(super) checkpoints: &'a Path,
    pub(super) progress: &'a Arc<JobProgress>,
    pub(super) metrics: &'a TrainMetrics,
}

impl Training<'_> {
    /// Trains the network of the plan, from its last checkpoint where there is one: alone, or as a rank.
    pub(super) fn run(&self, backend: &mut dyn Backend) -> Result<JobOutcome, JobError> {
        if !self.wait_for_all_ranks()? {
            return Ok(JobOutcome::Stopped);
        }
        backend.before_batch()?;
        let group = self
            .connect(backend)
            .map_err(|error| self.collective_failure(&error))?;
        let trained = {
            let _watchdog = group
                .as_ref()
                .map(|group| RankWatchdog::start(Arc::clone(group), self.progress));
            let ranks = group.as_deref().map_or(Ranks::Alone, Ranks::Together);
            self.train(backend, ranks)
        };
        match (trained, group) {
            (Ok(JobOutcome::Done(_)), group) if !self.rank.is_first() => {
                drop(group);
                Ok(self.wait_for_the_first())
            }
            // Whatever went wrong, the others are not where they were.
            (Err(error), Some(group)) => {
                // Its destructor waits for what is under way, up to the timeout of an operation; this process ends first.
                std::mem::forget(group);
                Err(error.restart())
            }
            (trained, _) => trained,
        }
    }

    /// Connects to the other ranks, which are all there; `None` for a rank alone.
    fn connect(&self, backend: &dyn Backend) -> Result<Option<Arc<Group>>, CollectiveError> {
        if self.rank.world == 1 {
            return Ok(None);
        }
        let membership = Membership {
            rank: self.rank.rank as usize,
            world: self.rank.world as usize,
        };
        let rendezvous: Arc<dyn Rendezvous> = Arc::<QueueRendezvous>::clone(&self.rendezvous);
        backend.connect(membership, rendezvous, self.address)
    }

    /// The failure of a rank that lost its peers: its own, or what follows from being called off.
    fn collective_failure(&self, error: &CollectiveError) -> JobError {
        match error {
            _ if self.progress.stop_or_drain_asked() => JobError::called_off().restart(),
            // What is not installed stays so.
            CollectiveError::Library { .. } => JobError::new(ErrorClass::Fatal, error),
            _ => JobError::new(ErrorClass::Transient, error).restart(),
        }
    }

    fn train(&self, backend: &mut dyn Backend, ranks: Ranks<'_>) -> Result<JobOutcome, JobError> {
        let plan = self.plan;
        let bad =
            |error: &(dyn std::error::Error + 'static)| JobError::new(ErrorClass::BadInput, error);
        let key = plan.key().map_err(|error| bad(&error))?;
        // A large store is longer on its way through the digest than a lease lives.
        let watch = |_| {
            self.progress.heartbeat();
            if self.progress.stop_or_drain_asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let slices_of = |subjects: &[String]| -> Result<Arc<dyn TrainingData>, JobError> {
            let images = self.slices.images();
            let slices = StoreSlices::open(images, subjects, plan.data.scaling, &watch)
                .map_err(|error| store_failure(&error))?;
            Ok(Arc::new(Cached::new(slices, CACHE_BYTES)))
        };
        let validates = plan.train.validate_every > 0 && !plan.validation.is_empty();
        let request = TrainRequest {
            role: plan.network,
            network: plan.config.clone(),
            train: plan.train.clone(),
            data: slices_of(&plan.data.subjects)?,
            validation: validates.then(|| slices_of(&plan.validation)).transpose()?,
            checkpoints: &self.checkpoints.join(plan.network.name()),
            device: backend.device(),
            identity: Identity {
                spec: key,
                data: plan.data.digest,
            },
            ranks,
            generation: Some(self.rank.generation),
            kind: Kind::Float,
        };
        let progress = self.progress;
        let GangRank {
            generation, world, ..
        } = self.rank;
        let measured = self.metrics.begin(plan.network, generation, world);
        let outcome = backend
            .train(&request, &mut |at| {
                progress.reach(at.step);
                progress.note(format!(
                    "loss {:.4}, {:.1} images/s",
                    at.loss, at.images_per_second
                ));
                progress.set_interlude(at.interlude);
                measured.step(&TrainStep {
                    took: at.took,
                    allreduce: at.summing,
                    samples: at.samples as u64,
                    loss: at.loss,
                    saved: at.saved,
                });
                if progress.stop_or_drain_asked() {
                    Control::Stop
                } else {
                    Control::Continue
                }
            })
            .map_err(|error| match &error {
                TrainError::Collective(lost) => self.collective_failure(lost),
                _ => failure(&error),
            })?;
        if outcome.step < plan.train.steps {
            return Ok(JobOutcome::Stopped);
        }
        Ok(self.done(key, self.artifacts.put_file(&outcome.ema)?))
    }

    /// Waits until every rank is here; false when they do not come.
    fn wait_for_all_ranks(&self) -> Result<bool, JobError> {
        let GangRank { rank, world, .. } = self.rank;
        if world == 1 {
            return Ok(true);
        }
        if self.progress.stop_or_drain_asked() {
            return Ok(false);
        }
        let place = |rank: u32| format!("here/{rank}");
        match self.rendezvous.read(&place(rank), Duration::ZERO) {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.wait_for_the_end_of_a_lost_gang();
                return Ok(false);
            }
            Err(QueueRendezvousError::CalledOff) => return Ok(false),
            Err(error) => return Err(rendezvous_failure(error)),
        }
        self.rendezvous
            .post(&place(rank), &[1])
            .map_err(rendezvous_failure)?;
        for other in (0..world).filter(|other| *other != rank) {
            match self.rendezvous.read(&place(other), ALL_RANKS_WAIT) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::warn!(rank, other, "a rank of this training does not come");
                    return Ok(false);
                }
                Err(QueueRendezvousError::CalledOff) => return Ok(false),
                Err(error) => return Err(rendezvous_failure(error)),
            }
        }
        Ok(true)
    }

    /// Somebody was this rank of this generation before, and is not any more: the generation is lost, and what its ranks
    /// wrote to each other leads to nobody. The coordinator calls it off at its next look; until then, or for a while
    /// where there is none, the rank stays here rather than go round in the queue.
    fn wait_for_the_end_of_a_lost_gang(&self) {
        tracing::info!(
            rank = self.rank.rank,
            generation = self.rank.generation,
            "this rank was another's: its gang is over"
        );
        let until = Instant::now() + WAIT_WHEN_LOST;
        while !self.progress.stop_or_drain_asked() && Instant::now() < until {
            self.progress.heartbeat();
            std::thread::sleep(WAIT_EVERY);
        }
    }

    /// The first rank delivers the weights; then the coordinator calls the others off.
    fn wait_for_the_first(&self) -> JobOutcome {
        while !self.progress.stop_or_drain_asked() {
            self.progress.heartbeat();
            std::thread::sleep(WAIT_EVERY);
        }
        JobOutcome::Stopped
    }

    /// Steps of earlier attempts were counted nowhere, so the whole training is what the weights cost.
    fn done(&self, key: Digest, weights: Digest) -> JobOutcome {
        JobOutcome::Done(JobResult {
            entries: vec![(key, weights)],
            evaluations: self.plan.train.steps * self.plan.train.batch,
            padding: 0,
        })
    }
}

fn rendezvous_failure(error: QueueRendezvousError) -> JobError {
    match error {
        QueueRendezvousError::CalledOff => JobError::called_off(),
        error @ QueueRendezvousError::Queue(_) => JobError::new(ErrorClass::Transient, &error),
    }
}

/// Another worker may have a store that is whole.
fn store_failure(error: &StoreError) -> JobError {
    match error {
        StoreError::Stopped => JobError::called_off(),
        StoreError::Disk(_) => JobError::new(ErrorClass::Transient, error).caused_here(),
        _ => JobError::new(ErrorClass::Transient, error),
    }
}

fn failure(error: &TrainError) -> JobError {
    match error {
        // Nearly always a full disk, where the next worker may have another.
        TrainError::Checkpoint(_) => JobError::new(ErrorClass::Transient, error).caused_here(),
        TrainError::Loader(_) => JobError::new(ErrorClass::Transient, error),
        TrainError::Torch(said) if is_of_a_gpu(&said.0) => {
            JobError::new(ErrorClass::Transient, error)
        }
        _ => JobError::new(ErrorClass::BadInput, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::ShimError;

    #[test]
    fn what_a_gpu_says_in_training_may_pass_and_what_libtorch_refuses_does_not() {
        for (said, class) in [
            ("CUDA error: invalid argument", ErrorClass::Transient),
            (
                "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
                ErrorClass::Transient,
            ),
            (
                "CUDA error: unspecified launch failure",
                ErrorClass::DeviceLost,
            ),
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB.",
                ErrorClass::OutOfMemory,
            ),
            ("The size of tensor a (3) must match", ErrorClass::BadInput),
        ] {
            let error = TrainError::Torch(ShimError(said.to_owned()));
            assert_eq!(failure(&error).class, class, "{said}");
        }
    }
}
