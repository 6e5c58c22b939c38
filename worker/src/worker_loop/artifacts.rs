//! Plans, manifests and records in the artifact store.

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{MAX_PLAN_BYTES, Plan};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::wire::{self, Message};

use super::job_error::JobError;

pub(super) fn get_plan(artifacts: &ArtifactStore, digest: Digest) -> Result<Plan, JobError> {
    let bytes = artifacts.get(&digest, MAX_PLAN_BYTES)?;
    Plan::from_json(&bytes).map_err(|error| JobError::new(ErrorClass::BadInput, &error))
}

/// Stores a record or a manifest.
pub(super) fn put<T: Message>(artifacts: &ArtifactStore, value: &T) -> Result<Digest, JobError> {
    let bytes = wire::encode(value).map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    Ok(artifacts.put(&bytes)?)
}
