//! What computes: the seam between the worker's loop and libtorch.
//!
//! [The loop](crate::worker_loop) takes leases, reads slices, makes records and reports. Opening networks, training them
//! and connecting ranks is asked of a [`Backend`]. A program with another backend is the same worker in everything else:
//! the whole-program tests have one that computes next to nothing and fails on request.

pub mod libtorch;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use anofpdm_common::plan::NetworkPlan;
use anofpdm_common::record::Record;
use anofpdm_common::spec::Precision;
use tch::{Device, Kind};

use crate::collective::{CollectiveError, Group, Membership, Rendezvous};
use crate::engine::precision::PrecisionError;
use crate::nn::weights::WeightsError;
use crate::predictor::{LabelGuide, NoisePredictor};
use crate::train::{Control, TrainError, TrainOutcome, TrainProgress, TrainRequest};

/// A network that was opened, by what it can be asked.
pub enum OpenNetwork {
    Noise(Box<dyn NoisePredictor>),
    Label(Box<dyn LabelGuide>),
}

impl std::fmt::Debug for OpenNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Noise(_) => "OpenNetwork::Noise",
            Self::Label(_) => "OpenNetwork::Label",
        })
    }
}

/// Sees each record of a batch before it is stored, and may change it: a test backend plays a device with wrong bits.
pub type RecordHook = Box<dyn Fn(&mut Record) + Send>;

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    #[error(transparent)]
    Transient(Box<dyn Error + Send + Sync>),
}

/// One device and what computes on it. All calls come from the thread that owns the device.
pub trait Backend {
    /// Where the tensors of a batch are put.
    fn device(&self) -> Device;

    /// The kind of device, for the numeric profile: results of one kind are comparable bit by bit.
    fn device_class(&self) -> String;

    /// Sets this process to a number format, and returns the kind of tensors that U-Nets opened for it compute in.
    fn set_precision(&mut self, precision: Precision) -> Result<Kind, BackendError>;

    /// Opens the network of `plan`, whose weights are the file `weights`.
    fn open(
        &mut self,
        plan: &NetworkPlan,
        weights: &Path,
        kind: Kind,
    ) -> Result<OpenNetwork, BackendError>;

    /// Gives back the memory that the device keeps for later, once no network is loaded.
    fn free_memory(&mut self) {}

    /// Called before each batch of a shard, and before a training.
    fn before_batch(&mut self) -> Result<Option<RecordHook>, BackendError> {
        Ok(None)
    }

    /// Connects this rank to the others of its training, which are all there; they reach it at `address`. `None` where
    /// the ranks of this backend exchange nothing.
    fn connect(
        &self,
        membership: Membership,
        rendezvous: Arc<dyn Rendezvous>,
        address: &str,
    ) -> Result<Option<Arc<Group>>, CollectiveError>;

    /// Trains until the end of `request`, or until `observe`, called after every step, says to stop.
    fn train(
        &mut self,
        request: &TrainRequest<'_>,
        observe: &mut dyn FnMut(&TrainProgress) -> Control,
    ) -> Result<TrainOutcome, TrainError>;
}
