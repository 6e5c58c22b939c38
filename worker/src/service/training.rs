//! Training jobs: the trainer, fed from the store, its weights put into the artifact store.

use std::path::Path;
use std::sync::Arc;

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{PlanError, TrainPlan};
use tch::{Device, Kind};

use crate::fake::{FakeDevice, weights};
use crate::train::store_slices::StoreSlices;
use crate::train::{Cached, Control, Identity, Ranks, TrainError, TrainRequest, train};

use super::failure::JobError;
use super::renewal::Progress;
use super::{JobResult, Outcome};

/// Memory for training slices; the rest is read from the store again each epoch.
const CACHE_BYTES: usize = 1 << 30;

/// One training and what it is done with.
pub(super) struct Training<'a> {
    pub(super) plan: &'a TrainPlan,
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    /// Folder of the checkpoints of all networks.
    pub(super) checkpoints: &'a Path,
    pub(super) progress: &'a Progress,
}

impl Training<'_> {
    /// Trains the network of the plan on `device`, from its last checkpoint where there is one.
    pub(super) fn run(&self, device: Device) -> Result<Outcome, JobError> {
        let plan = self.plan;
        let bad =
            |error: &(dyn std::error::Error + 'static)| JobError::new(ErrorClass::BadInput, error);
        let key = plan.key().map_err(|error| bad(&error))?;
        let slices =
            StoreSlices::open(self.slices.images(), &plan.data.subjects, plan.data.scaling)
                .map_err(|error| bad(&error))?;
        let request = TrainRequest {
            role: plan.network,
            network: plan.config.clone(),
            train: plan.train.clone(),
            data: Arc::new(Cached::new(slices, CACHE_BYTES)),
            checkpoints: &self.checkpoints.join(plan.network.name()),
            device,
            identity: Identity {
                spec: key,
                data: plan.data.digest,
            },
            ranks: Ranks::Alone,
            generation: None,
            kind: Kind::Float,
        };
        let progress = self.progress;
        let outcome = train(&request, &mut |at| {
            progress.reach(at.step);
            progress.note(format!(
                "loss {:.4}, {:.1} images/s",
                at.loss, at.images_per_second
            ));
            if progress.stop_or_drain_asked() {
                Control::Stop
            } else {
                Control::Continue
            }
        })
        .map_err(|error| failure(&error))?;
        if outcome.step < plan.train.steps {
            return Ok(Outcome::Stopped);
        }
        Ok(self.done(key, self.artifacts.put_file(&outcome.ema)?))
    }

    /// Trains nothing, step by step, and leaves weights that depend on the plan alone.
    pub(super) fn pretend(&self, fake: &mut FakeDevice) -> Result<Outcome, JobError> {
        let key = self
            .plan
            .key()
            .map_err(|error: PlanError| JobError::new(ErrorClass::BadInput, &error))?;
        fake.begin_batch()
            .map_err(|error| JobError::new(ErrorClass::Transient, &error))?;
        for step in 0..self.plan.train.steps {
            if self.progress.stop_or_drain_asked() {
                return Ok(Outcome::Stopped);
            }
            if !fake.delay().is_zero() {
                std::thread::sleep(fake.delay());
            }
            self.progress.reach(step + 1);
        }
        let bytes =
            weights::trained(&key).map_err(|error| JobError::new(ErrorClass::Fatal, &error))?;
        Ok(self.done(key, self.artifacts.put(&bytes)?))
    }

    /// Steps of earlier attempts were counted nowhere, so the whole training is what the weights cost.
    fn done(&self, key: Digest, weights: Digest) -> Outcome {
        Outcome::Done(JobResult {
            entries: vec![(key, weights)],
            evaluations: self.plan.train.steps * self.plan.train.batch,
            padding: 0,
        })
    }
}

fn failure(error: &TrainError) -> JobError {
    match error {
        // Nearly always a full disk, where the next worker may have another.
        TrainError::Checkpoint(_) => JobError::new(ErrorClass::Transient, error).own(),
        TrainError::Loader(_) | TrainError::Collective(_) => {
            JobError::new(ErrorClass::Transient, error)
        }
        _ => JobError::new(ErrorClass::BadInput, error),
    }
}
