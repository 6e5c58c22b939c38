//! Why a run, or the work of one of its stages, stopped.

use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::QueueError;
use anofpdm_common::spec::{Devices, Precision};
use anofpdm_common::store::artifacts::ArtifactError;
use anofpdm_common::store::durable::DiskError;
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::work::PlanError;

use super::operators::control_files::Cancelled;
use super::shard_tracker::MAX_OPINIONS;
use super::signals::Interrupted;
use super::workers::gang::GivenUp;
use super::workers::supervisor::SupervisorError;
use crate::dataset::DatasetError;
use crate::evaluate::EvaluateError;
use crate::evaluate::calibrate::CalibrateError;
use crate::preflight::PreflightError;
use crate::run_folder::RunFolderError;
use crate::spec_file::SpecFileError;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run folder.
    #[error("{0}")]
    Folder(#[from] RunFolderError),
    /// The spec or its slices.
    #[error("{0}")]
    Bench(#[from] SpecFileError),
    /// The slices.
    #[error("{0}")]
    Dataset(#[from] DatasetError),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The artifact store.
    #[error("{0}")]
    Artifacts(#[from] ArtifactError),
    /// Queue and workers.
    #[error("{0}")]
    Scheduler(#[from] SchedulerError),
    /// Labels, masks or weights.
    #[error("{0}")]
    Preflight(#[from] PreflightError),
    /// A plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// Calibration.
    #[error("{0}")]
    Calibrate(#[from] CalibrateError),
    /// Adding up.
    #[error("{0}")]
    Aggregate(#[from] EvaluateError),
    /// A file of the report.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The cache folder.
    #[error("cache {path}: {source}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder belongs to other slices.
    #[error(
        "{0} was begun on other slices than the store holds now; give the run another name or --dir"
    )]
    OtherData(PathBuf),
    /// A checkpoint of the spec cannot be read.
    #[error("[model.{network}] checkpoint: {source}")]
    Checkpoint {
        /// The network.
        network: String,
        /// What is wrong.
        source: ArtifactError,
    },
    /// A network without weights and without training: the parser refuses such a spec.
    #[error("[model.{0}] has neither checkpoint nor train section")]
    NoWeights(String),
    /// Fewer local workers than a training needs.
    #[error(
        "[model.{network}.train]: devices is {devices}, but this run starts {workers} worker(s): start more (--workers, or --device with every GPU), lower devices, or give a checkpoint"
    )]
    Devices {
        /// The network.
        network: String,
        /// What it asks for.
        devices: Devices,
        /// Workers of this run.
        workers: usize,
    },
    /// A number format that this machine does not compute in.
    #[error("[compute] precision: {} needs a GPU: on the CPU fp32 and bf16 are there (or leave it at auto)", .0.name())]
    Precision(Precision),
    /// Deliveries disagree again and again.
    #[error(
        "{0} record(s) stay in conflict after repeated runs: a device gives different bits for the same work"
    )]
    Conflicts(usize),
}

/// Why work stopped.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The queue failed.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// A device has no worker.
    #[error("{0}")]
    Supervisor(#[from] SupervisorError),
    /// The journal cannot be written: nothing counts any more.
    #[error("the journal failed, the run stops here and can be resumed: {0}")]
    Journal(#[from] JournalError),
    /// A plan that contradicts itself.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The run folder cannot be found again.
    #[error("cannot name the queue's socket after the run folder: {0}")]
    Folder(std::io::Error),
    /// Shards were given up.
    #[error("{shards} shard(s) failed for good; the first: {message}")]
    Dead {
        /// How many.
        shards: usize,
        /// The first failure, whole.
        message: String,
    },
    /// Workers do not agree.
    #[error("{0}")]
    Disagreement(FlightError),
    /// The user stopped it.
    #[error("{0}")]
    Interrupted(#[from] Interrupted),
    /// An operator ended it.
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

impl From<FlightError> for SchedulerError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Queue(error) => Self::Queue(error),
            error @ FlightError::NoAgreement(_) => Self::Disagreement(error),
        }
    }
}

impl From<GivenUp> for SchedulerError {
    fn from(GivenUp(message): GivenUp) -> Self {
        Self::Dead { shards: 1, message }
    }
}

/// Why shards cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum FlightError {
    /// The queue failed.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Deliveries of one key disagree again and again.
    #[error(
        "no two workers agree on record {0} after {MAX_OPINIONS} more runs: a device gives different bits for the same work; look for `conflict` in the log, take that device out, and run again"
    )]
    NoAgreement(Digest),
}
