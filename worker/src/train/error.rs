//! Why training cannot start or go on.

use anofpdm_common::network::NetworkConfigError;
use anofpdm_common::role::{Role, RoleError};
use anofpdm_common::store::durable::DiskError;

use super::checkpoint::CheckpointError;
use super::loader::LoaderError;
use super::optimizer::OptimizerStateError;
use super::ranks::BackwardError;
use super::sampler::TooFewSlices;
use crate::collective::CollectiveError;
use crate::diffusion::schedule::ScheduleError;
use crate::shim::ShimError;

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("network configuration: {0}")]
    Network(#[from] NetworkConfigError),
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error("network and slices do not fit: {0}")]
    Fit(String),
    #[error(transparent)]
    TooFewSlices(#[from] TooFewSlices),
    #[error("a {role} network learns from slices without lesion only: {source}")]
    TooFewHealthy { role: Role, source: TooFewSlices },
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The schedule cannot be built: a bug.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Optimizer(#[from] OptimizerStateError),
    #[error("checkpoint tensor {0} is absent or has another shape than the network's")]
    Weights(String),
    #[error("the checkpoint has {found} steps, more than the {steps} asked for: raise steps")]
    Beyond { found: u64, steps: u64 },
    #[error(
        "a batch of {batch} cannot be shared by {world} ranks: use a larger batch or fewer devices"
    )]
    Share { batch: usize, world: usize },
    /// Another rank is gone or hangs, or the group was aborted: the gang may start again.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    #[error("libtorch: {0}")]
    Torch(#[from] ShimError),
    #[error("log of samples: {0}")]
    SamplesLog(DiskError),
    #[error("sample picture: {0}")]
    Picture(DiskError),
    #[error("sample picture: {0}")]
    Png(std::io::Error),
    /// Rank 0 has told this rank something that it does not understand: another version.
    #[error("the state that rank 0 sent cannot be read: {0}")]
    State(serde_json::Error),
    #[error(
        "training diverged at step {step} ({what}; samples: {samples}): lower learning_rate, or look at these slices"
    )]
    Diverged {
        /// Step, from 1.
        step: u64,
        what: String,
        samples: String,
    },
}

impl From<BackwardError> for TrainError {
    fn from(error: BackwardError) -> Self {
        match error {
            BackwardError::Collective(error) => error.into(),
            BackwardError::Torch(error) => error.into(),
        }
    }
}
