//! The training loop on one device: loss of the network's role, AdamW, moving average, checkpoints.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::network::{CLASSES, NetworkConfig, NetworkConfigError};
use anofpdm_common::role::{Role, RoleError};
use anofpdm_common::spec::{DIFFUSION_STEPS, TrainSpec};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::checkpoint::{CheckpointError, Checkpoints, EMA_FILE, Identity, State};
use super::data::TrainingData;
use super::ema::Ema;
use super::healthy::HealthyOnly;
use super::loader::{Batch, LoadPlan, Loader, LoaderError};
use super::loss::{LossHistory, LossPoint};
use super::objective::{Noised, Objective};
use super::optimizer::{AdamW, AdamWSettings, OptimizerStateError};
use super::sampler::{Sampler, Tail, TooFewSlices, seed_dropout, seed_initial_weights};
use crate::diffusion::schedule::{Respacing, Schedule, ScheduleError};
use crate::nn::weights::variables;
use crate::tensors::NamedTensors;

/// This process trains alone: it is rank 0 and takes the whole global batch.
const RANK: u64 = 0;
/// Steps over which the speed is averaged.
const SPEED_WINDOW: usize = 50;
/// Samples named in a message, at most.
const NAMED_SAMPLES: usize = 16;

/// One training run.
#[derive(Debug, Clone)]
pub struct TrainRequest<'a> {
    /// What the network is for: decides loss, noise, labels and which slices it sees.
    pub role: Role,
    /// The architecture.
    pub network: NetworkConfig,
    /// How long and how fast. `batch` is trained whole here, whatever `devices` says.
    pub train: TrainSpec,
    /// The training slices, healthy and not; a role that learns from healthy ones chooses them.
    pub data: Arc<dyn TrainingData>,
    /// Folder of the checkpoints; training goes on from the last one in it.
    pub checkpoints: &'a Path,
    /// Where to compute.
    pub device: Device,
    /// What the checkpoints belong to.
    pub identity: Identity,
}

/// How far training is, after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainProgress {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Mean loss of the last 100 steps.
    pub loss: f64,
    /// Over the last 50 steps of this process.
    pub images_per_second: f64,
}

/// What the caller wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Write a checkpoint and return.
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
    /// Over the last 50 steps of this process; 0 when no step was left to do.
    pub images_per_second: f64,
    /// The last checkpoint folder.
    pub checkpoint: PathBuf,
    /// Averaged weights in it (safetensors, public tensor names).
    pub ema: PathBuf,
}

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The architecture cannot be built.
    #[error("network configuration: {0}")]
    Network(#[from] NetworkConfigError),
    /// The architecture cannot have the role.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The network and the slices do not fit.
    #[error("network and slices do not fit: {0}")]
    Fit(String),
    /// Too few slices.
    #[error(transparent)]
    TooFewSlices(#[from] TooFewSlices),
    /// Too few slices without lesion.
    #[error("a {role} network learns from slices without lesion only: {source}")]
    TooFewHealthy {
        /// The role.
        role: Role,
        /// How many there are.
        source: TooFewSlices,
    },
    /// No batch.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The schedule cannot be built: a bug.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint's optimiser state does not fit.
    #[error(transparent)]
    Optimizer(#[from] OptimizerStateError),
    /// A checkpoint's weights do not fit.
    #[error("checkpoint tensor {0} is absent or has another shape than the network's")]
    Weights(String),
    /// The checkpoint is ahead of what is asked for.
    #[error("the checkpoint has {found} steps, more than the {steps} asked for: raise steps")]
    Beyond {
        /// Steps of the checkpoint.
        found: u64,
        /// Steps asked for.
        steps: u64,
    },
    /// The loss or the weights are NaN or infinite.
    #[error(
        "training diverged at step {step} ({what}; samples: {samples}): lower learning_rate, or look at these slices"
    )]
    Diverged {
        /// Step, from 1.
        step: u64,
        /// What is not finite.
        what: String,
        /// The slices of the batch.
        samples: String,
    },
}

/// Trains until `request.train.steps`, from the last checkpoint if there is one. `progress` is
/// called after every step. On the CPU with a fixed number of threads the result is the same bits
/// however often the run was interrupted.
///
/// # Errors
/// See [`TrainError`]; what was checkpointed before stays.
pub fn train(
    request: &TrainRequest<'_>,
    progress: &mut dyn FnMut(&TrainProgress) -> Control,
) -> Result<TrainOutcome, TrainError> {
    check_fit(request)?;
    let data = slices_of(request);
    let checkpoints = Checkpoints::open(request.checkpoints, &request.network, request.identity)?;
    let steps = request.train.steps;
    let mut trainer = Trainer::new(request)?;
    if let Some(state) = checkpoints.latest()? {
        if state.step > steps {
            return Err(TrainError::Beyond {
                found: state.step,
                steps,
            });
        }
        trainer.restore(state)?;
    }
    let mut saved = trainer.step;
    let batch = usize::try_from(request.train.batch).unwrap_or(usize::MAX);
    let plan = LoadPlan {
        seed: request.train.seed,
        noise: request.role.noise(),
        sampler: sampler(request, data.len(), batch, trainer.noising.times())?,
        steps: trainer.step..steps,
        positions: 0..batch,
    };
    let mut loader = Loader::start(Arc::clone(&data), plan)?;
    let mut speed = Speed::default();
    let mut control = Control::Continue;
    while trainer.step < steps && control == Control::Continue {
        let start = Instant::now();
        let batch = loader.next_batch()?;
        trainer.train_step(&batch, data.as_ref())?;
        speed.push(start.elapsed());
        control = progress(&TrainProgress {
            step: trainer.step,
            steps,
            loss: trainer.loss.recent_mean().unwrap_or(f64::NAN),
            images_per_second: speed.images_per_second(batch.slices.len()),
        });
        let due = trainer.step.is_multiple_of(request.train.checkpoint_every);
        if due || trainer.step == steps || control == Control::Stop {
            trainer.check_weights(&batch, data.as_ref())?;
            checkpoints.save(&trainer.state())?;
            saved = trainer.step;
        }
    }
    let checkpoint = checkpoints.path(saved);
    Ok(TrainOutcome {
        step: trainer.step,
        loss: trainer.loss.recent_mean().unwrap_or(f64::NAN),
        curve: trainer.loss.curve().to_vec(),
        images_per_second: speed.images_per_second(batch),
        ema: checkpoint.join(EMA_FILE),
        checkpoint,
    })
}

fn check_fit(request: &TrainRequest<'_>) -> Result<(), TrainError> {
    let network = &request.network;
    network.validate()?;
    request.role.check(network)?;
    let fail = |message: String| Err(TrainError::Fit(message));
    let expected = [network.in_channels, network.image_size, network.image_size];
    let shape = request.data.shape();
    if shape
        .iter()
        .zip(expected)
        .any(|(found, expected)| i64::try_from(*found) != Ok(expected))
    {
        return fail(format!(
            "slices are {shape:?} (modalities, height, width), the network takes {expected:?}"
        ));
    }
    match (0..request.data.len()).find(|i| i64::from(request.data.label(*i)) >= CLASSES) {
        Some(index) => fail(format!(
            "slice {} has label {}, there are {CLASSES}",
            request.data.name(index),
            request.data.label(index)
        )),
        None => Ok(()),
    }
}

/// The slices that the role learns from.
fn slices_of(request: &TrainRequest<'_>) -> Arc<dyn TrainingData> {
    if request.role.healthy_only() {
        Arc::new(HealthyOnly::of(Arc::clone(&request.data)))
    } else {
        Arc::clone(&request.data)
    }
}

fn sampler(
    request: &TrainRequest<'_>,
    slices: usize,
    batch: usize,
    times: usize,
) -> Result<Sampler, TrainError> {
    let role = request.role;
    let tail = match role {
        // The public classifier saw one batch for ever (SCIENCE 9): this one sees every slice.
        Role::Classifier => Tail::Carry,
        _ => Tail::Drop,
    };
    let train = &request.train;
    Sampler::new(train.seed, slices, batch, times, train.null_label, tail).map_err(|source| {
        if role.healthy_only() {
            TrainError::TooFewHealthy { role, source }
        } else {
            source.into()
        }
    })
}

/// Everything that a step changes.
struct Trainer {
    seed: u64,
    dropout: f64,
    objective: Objective,
    weights: NamedTensors,
    optimizer: AdamW,
    ema: Ema,
    noising: Noising,
    loss: LossHistory,
    /// Steps done.
    step: u64,
    device: Device,
}

impl Trainer {
    fn new(request: &TrainRequest<'_>) -> Result<Self, TrainError> {
        let train = &request.train;
        // Fresh weights are drawn on the CPU, so that they do not depend on the device.
        seed_initial_weights(train.seed, Device::Cpu);
        let mut vs = VarStore::new(Device::Cpu);
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::None)?;
        let objective = Objective::new(
            request.role,
            &vs.root(),
            &request.network,
            &schedule,
            request.device,
        );
        vs.set_device(request.device);
        let weights = variables(&vs);
        let settings = AdamWSettings {
            learning_rate: train.learning_rate,
            ..AdamWSettings::default()
        };
        Ok(Self {
            seed: train.seed,
            dropout: train.dropout,
            objective,
            optimizer: AdamW::new(settings, &weights),
            ema: Ema::new(train.ema, &weights),
            noising: Noising::new(&schedule, request.device),
            weights,
            loss: LossHistory::new(train.steps),
            step: 0,
            device: request.device,
        })
    }

    fn restore(&mut self, state: State) -> Result<(), TrainError> {
        copy_weights(&self.weights, &state.model)?;
        copy_weights(&self.ema.weights(), &state.ema)?;
        self.optimizer.restore(&state.optimizer)?;
        self.loss = state.loss;
        self.step = state.step;
        Ok(())
    }

    fn state(&self) -> State {
        State {
            step: self.step,
            model: self
                .weights
                .iter()
                .map(|(name, weight)| (name.clone(), weight.detach()))
                .collect(),
            ema: self.ema.weights(),
            optimizer: self.optimizer.state(),
            loss: self.loss.clone(),
        }
    }

    fn train_step(&mut self, batch: &Batch, data: &dyn TrainingData) -> Result<(), TrainError> {
        seed_dropout(self.seed, batch.step, RANK, self.device);
        let on_device = |tensor: &Tensor| tensor.to_device(self.device);
        let (x0, noise) = (on_device(&batch.x0), on_device(&batch.noise));
        let times = on_device(&batch.times);
        let noised = Noised {
            x_t: self.noising.noised(&x0, &noise, &times),
            x0,
            noise,
            times,
            labels: on_device(&batch.labels),
        };
        let loss = self.objective.loss(&noised, self.dropout);
        let gradients = Tensor::run_backward(&[&loss], &self.optimizer.parameters(), false, false);
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(diverged(format!("loss {value}"), batch, data));
        }
        self.optimizer.step(&gradients);
        self.ema.update(&self.weights);
        self.step += 1;
        self.loss.push(self.step, value);
        Ok(())
    }

    /// A finite loss can still have had infinite gradients: nothing broken is checkpointed.
    fn check_weights(&self, batch: &Batch, data: &dyn TrainingData) -> Result<(), TrainError> {
        let broken = self
            .weights
            .iter()
            .find(|(_, weight)| weight.isfinite().all().int64_value(&[]) == 0);
        match broken {
            Some((name, _)) => Err(diverged(format!("weights {name}"), batch, data)),
            None => Ok(()),
        }
    }
}

fn diverged(what: String, batch: &Batch, data: &dyn TrainingData) -> TrainError {
    let mut names: Vec<String> = batch
        .slices
        .iter()
        .take(NAMED_SAMPLES)
        .map(|index| data.name(*index))
        .collect();
    if batch.slices.len() > NAMED_SAMPLES {
        names.push(format!("{} more", batch.slices.len() - NAMED_SAMPLES));
    }
    TrainError::Diverged {
        step: batch.step + 1,
        what: format!("{what} is not finite"),
        samples: names.join(", "),
    }
}

/// Overwrites `target` in place with the tensors of the same names in `source`.
fn copy_weights(target: &NamedTensors, source: &NamedTensors) -> Result<(), TrainError> {
    for (name, target) in target {
        match source.get(name) {
            Some(stored) if stored.size() == target.size() => {
                tch::no_grad(|| target.shallow_clone().copy_(stored));
            }
            _ => return Err(TrainError::Weights(name.clone())),
        }
    }
    Ok(())
}

/// The forward process with a time for each sample (Eq. 2), on the full schedule.
struct Noising {
    /// sqrt(alpha_bar) of every time, f32 `[T]`.
    signal: Tensor,
    /// sqrt(1 - alpha_bar) of every time, f32 `[T]`.
    spread: Tensor,
}

impl Noising {
    fn new(schedule: &Schedule, device: Device) -> Self {
        let table = |value: fn(&f64) -> f64| {
            let values: Vec<f64> = schedule.alpha_bars().iter().map(value).collect();
            Tensor::from_slice(&values)
                .to_kind(Kind::Float)
                .to_device(device)
        };
        Self {
            signal: table(|alpha_bar| alpha_bar.sqrt()),
            spread: table(|alpha_bar| (1.0 - alpha_bar).sqrt()),
        }
    }

    fn times(&self) -> usize {
        self.signal.numel()
    }

    /// `x0` and `noise` are `[N, C, H, W]`, `times` i64 `[N]`.
    fn noised(&self, x0: &Tensor, noise: &Tensor, times: &Tensor) -> Tensor {
        let of = |table: &Tensor| table.index_select(0, times).view([-1, 1, 1, 1]);
        x0 * of(&self.signal) + noise * of(&self.spread)
    }
}

/// Durations of the last steps of this process.
#[derive(Default)]
struct Speed {
    durations: VecDeque<Duration>,
}

impl Speed {
    fn push(&mut self, duration: Duration) {
        if self.durations.len() == SPEED_WINDOW {
            self.durations.pop_front();
        }
        self.durations.push_back(duration);
    }

    fn images_per_second(&self, batch: usize) -> f64 {
        let seconds: f64 = self.durations.iter().map(Duration::as_secs_f64).sum();
        #[allow(clippy::cast_precision_loss)] // small counts
        let images = (self.durations.len() * batch) as f64;
        if seconds > 0.0 { images / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::step::q_sample;

    #[test]
    fn noising_is_the_forward_step_at_each_samples_time() {
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::None).unwrap();
        let noising = Noising::new(&schedule, Device::Cpu);
        let ramp = Tensor::arange(3 * 2 * 4 * 4, (Kind::Float, Device::Cpu)).view([3, 2, 4, 4]);
        let (x0, noise) = ((&ramp * 0.1).cos(), (&ramp * 0.3).sin());
        let x_t = noising.noised(&x0, &noise, &Tensor::from_slice(&[0_i64, 413, 999]));
        for (row, index) in [(0, 0), (1, 413), (2, 999)] {
            let expected = q_sample(&schedule, index, &x0.get(row), &noise.get(row));
            let difference = (x_t.get(row) - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{index}: {difference}");
        }
    }
}
