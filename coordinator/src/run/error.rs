//! Why a run, or the work of one of its stages, stopped.

use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::PlanError;
use anofpdm_common::queue::QueueError;
use anofpdm_common::spec::{Devices, Precision};
use anofpdm_common::store::artifacts::ArtifactError;
use anofpdm_common::store::durable::DiskError;
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::store::object::ObjectError;
use anofpdm_common::store::remote_file::RemoteFileError;
use anofpdm_common::telemetry::endpoint::EndpointError;
use anofpdm_common::telemetry::registry::MetricsError;

use super::operators::control_files::Cancelled;
use super::signals::Interrupted;
use super::workers::gang::GivenUp;
use super::workers::supervisor::SupervisorError;
use crate::dataset::DatasetError;
use crate::evaluate::EvaluateError;
use crate::evaluate::calibrate::CalibrateError;
use crate::preflight::PreflightError;
use crate::run_folder::RunFolderError;
use crate::spec_file::SpecFileError;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Folder(#[from] RunFolderError),
    #[error("{0}")]
    Spec(#[from] SpecFileError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("cache {path}: {source}")]
    Cache {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{0} was begun on other slices than the store holds now; give the run another name or --dir"
    )]
    OtherData(PathBuf),
    #[error("[model.{network}] checkpoint: {source}")]
    Checkpoint {
        network: String,
        source: Box<RemoteFileError>,
    },
    #[error("[model.{0}] has neither checkpoint nor train section")]
    NoWeights(String),
    #[error(
        "[model.{network}.train]: devices is {devices}, but this run starts {workers} worker(s): start more (--workers, or --device with every GPU), lower devices, or give a checkpoint"
    )]
    Devices {
        network: String,
        devices: Devices,
        workers: usize,
    },
    #[error("[compute] precision: {} needs a GPU: on the CPU fp32 and bf16 are there (or leave it at auto)", .0.name())]
    Precision(Precision),
    #[error(
        "{0} record(s) stay in conflict after repeated runs: a device gives different bits for the same work"
    )]
    Conflicts(usize),
}

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("the run stops here and can be resumed: {0}")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot name the queue's socket after the run folder: {0}")]
    Folder(std::io::Error),
    #[error("{shards} shard(s) failed for good; the first: {message}")]
    Dead { shards: usize, message: String },
    #[error(transparent)]
    Disagreement(#[from] NoAgreement),
    #[error("{0}")]
    Interrupted(#[from] Interrupted),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl From<GivenUp> for SchedulerError {
    fn from(GivenUp(message): GivenUp) -> Self {
        Self::Dead { shards: 1, message }
    }
}

impl From<JournalError> for SchedulerError {
    fn from(error: JournalError) -> Self {
        CommitError::from(error).into()
    }
}

/// What was delivered could not be looked at or written down.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the journal failed: {0}")]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Deliveries of one key disagree again and again.
#[derive(Debug, thiserror::Error)]
#[error(
    "no two workers agree on record {key} after {opinions} more runs: a device gives different bits for the same work; look for `conflict` in the log, take that device out, and run again"
)]
pub struct NoAgreement {
    pub(super) key: Digest,
    pub(super) opinions: u32,
}
