//! A record, by its digest, out of the artifact store of a run.

use anofpdm_common::ids::Digest;
use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::wire::{self, HEADER_LEN, Kind, WireError};

/// Most bytes any record has.
const LIMIT: u64 = (Kind::Record.limit() + HEADER_LEN) as u64;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("record {digest}: {source}")]
    Wire { digest: Digest, source: WireError },
}

/// Reads and checks the bytes of a record.
pub fn read(artifacts: &ArtifactStore, digest: Digest) -> Result<Record, RecordError> {
    read_within(artifacts, digest, LIMIT)
}

/// The same for a record that has at most `limit` bytes.
pub fn read_within(
    artifacts: &ArtifactStore,
    digest: Digest,
    limit: u64,
) -> Result<Record, RecordError> {
    let bytes = artifacts.get(&digest, limit.min(LIMIT))?;
    wire::decode(&bytes).map_err(|source| RecordError::Wire { digest, source })
}
