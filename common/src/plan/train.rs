//! The plan of one network's training, and the key of its weights.

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::forward::DataPlan;
use super::key::key_of;
use super::profile::NumericProfile;
use crate::ids::Digest;
use crate::network::NetworkConfig;
use crate::role::Role;
use crate::spec::TrainSpec;

/// Names the arithmetic that makes trained weights; raised when a change of the training may move bits.
pub const TRAINING_KERNEL: &str = "libtorch-plain-1";

/// Everything a worker needs to train one network, stored once as an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Name in the spec: what the network is for, and so what it is trained to do.
    pub network: Role,
    pub config: NetworkConfig,
    pub train: TrainSpec,
    pub profile: NumericProfile,
    /// The training slices: every slice of these subjects.
    pub data: DataPlan,
    /// Subjects whose slices the averaged weights are validated on. Not part of the key: they move no weight.
    pub validation: Vec<String>,
}

/// Of what is not a record: raised when keys of weights and of trials mean something else. Weights outlive the schema of
/// records.
pub(super) const WEIGHTS_SCHEMA: u32 = 1;

#[derive(Serialize)]
struct TrainKey<'a> {
    schema: u32,
    kernel: &'a str,
    network: Role,
    config: &'a NetworkConfig,
    train: &'a TrainSpec,
    profile: &'a NumericProfile,
    data: &'a DataPlan,
}

impl TrainPlan {
    pub fn key(&self) -> Result<Digest, PlanError> {
        key_of(&TrainKey {
            schema: WEIGHTS_SCHEMA,
            kernel: TRAINING_KERNEL,
            network: self.network,
            config: &self.config,
            train: &self.train,
            profile: &self.profile,
            data: &self.data,
        })
    }
}
