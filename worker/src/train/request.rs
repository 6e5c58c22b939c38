//! What a training run is asked for, and what it says on the way and in the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::network::NetworkConfig;
use anofpdm_common::role::Role;
use anofpdm_common::spec::TrainSpec;
use tch::{Device, Kind};

use super::checkpoint::Identity;
use super::data::TrainingData;
use super::loss::LossPoint;
use super::ranks::Ranks;

/// One training run.
#[derive(Debug, Clone)]
pub struct TrainRequest<'a> {
    /// What the network is for: decides loss, noise, labels and which slices it sees.
    pub role: Role,
    pub network: NetworkConfig,
    /// How long and how fast. `batch` is the global one; who shares it is in `ranks`, not in `devices`.
    pub train: TrainSpec,
    /// The training slices, healthy and not; a role that learns from healthy ones chooses them.
    pub data: Arc<dyn TrainingData>,
    /// Validation slices, for `train.validate_every`.
    pub validation: Option<Arc<dyn TrainingData>>,
    /// Folder of the checkpoints; training resumes from the last one in it. Only rank 0 uses it.
    pub checkpoints: &'a Path,
    /// Where to compute.
    pub device: Device,
    /// What the checkpoints belong to.
    pub identity: Identity,
    pub ranks: Ranks<'a>,
    /// With a generation, rank 0 keeps a log of the samples of every step beside the checkpoints.
    pub generation: Option<u64>,
    /// Kind of weights and states: float32, or float64 to check the arithmetic.
    pub kind: Kind,
}

/// How far training is, after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainProgress {
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Mean loss of the last 100 steps.
    pub loss: f64,
    /// Over the last 50 steps of this process.
    pub images_per_second: f64,
    /// How long the last step took.
    pub took: Duration,
    /// Of it, waiting for sums over the ranks.
    pub summing: Duration,
    /// Samples of the last step that this rank has computed gradients of.
    pub samples: usize,
    /// When the newest checkpoint was written, or when this process began.
    pub saved: Instant,
    /// Validation, a checkpoint or a picture comes before the next step: it takes what it takes.
    pub interlude: bool,
}

/// What the caller wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Continue,
    /// Write a checkpoint and return. Of several ranks all return, at most one step later.
    Stop,
}

/// Where training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// Steps done; fewer than asked for when it was stopped.
    pub step: u64,
    /// Mean loss of the last 100 steps.
    pub loss: f64,
    /// Loss curve of the whole run, at most 500 points.
    pub curve: Vec<LossPoint>,
    /// Losses of the averaged weights on validation slices, at most 500 points.
    pub validation: Vec<LossPoint>,
    /// The lowest of all validation losses; its checkpoint is kept.
    pub best: Option<LossPoint>,
    /// Over the last 50 steps of this process; 0 when no step was left to do.
    pub images_per_second: f64,
    /// The last checkpoint folder; rank 0 has written it.
    pub checkpoint: PathBuf,
    /// Averaged weights in it (safetensors, public tensor names).
    pub ema: PathBuf,
}
