//! Training jobs: the trainer, fed from the store, its weights put into the artifact store.

use std::sync::Arc;

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::TrainPlan;

use crate::train::store_slices::StoreSlices;
use crate::train::{Cached, Control, Identity, TrainError, TrainRequest, train};

use super::renewal::Progress;
use super::{JobError, JobResult, Outcome, ServiceConfig};

/// Memory for training slices; the rest is read from the store again each epoch.
const CACHE_BYTES: usize = 1 << 30;

/// Trains the network of `plan`, from its last checkpoint where there is one.
pub(super) fn run(
    plan: &TrainPlan,
    store: &SliceStore,
    config: &ServiceConfig,
    artifacts: &ArtifactStore,
    progress: &Progress,
) -> Result<Outcome, JobError> {
    let key = plan
        .key()
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let slices = StoreSlices::open(store.images(), &plan.data.subjects, plan.data.scaling)
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let request = TrainRequest {
        network: plan.config.clone(),
        train: plan.train.clone(),
        data: Arc::new(Cached::new(slices, CACHE_BYTES)),
        checkpoints: &config.checkpoints.join(&plan.network),
        device: config.device,
        identity: Identity {
            spec: key,
            data: plan.data.digest,
        },
    };
    let outcome = train(&request, &mut |at| {
        progress.reach(at.step);
        progress.note(format!(
            "loss {:.4}, {:.1} images/s",
            at.loss, at.images_per_second
        ));
        if progress.stop_asked() {
            Control::Stop
        } else {
            Control::Continue
        }
    })
    .map_err(|error| JobError::new(class_of(&error), &error))?;
    if outcome.step < plan.train.steps {
        return Ok(Outcome::Stopped);
    }
    let weights = artifacts
        .put_file(&outcome.ema)
        .map_err(|error| JobError::new(ErrorClass::Transient, &error))?;
    // Steps of earlier attempts were counted nowhere, so the whole training is what the weights cost.
    Ok(Outcome::Done(JobResult {
        entries: vec![(key, weights)],
        evaluations: plan.train.steps * plan.train.batch,
        padding: 0,
    }))
}

fn class_of(error: &TrainError) -> ErrorClass {
    match error {
        TrainError::Checkpoint(_) | TrainError::Loader(_) => ErrorClass::Transient,
        _ => ErrorClass::BadInput,
    }
}
