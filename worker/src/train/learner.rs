//! What a step changes, and how: gradients of a share of the batch, update, average.

use anofpdm_common::spec::{DIFFUSION_STEPS, TrainPrecision};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::checkpoint::TrainingState;
use super::ema::Ema;
use super::error::TrainError;
use super::loader::TrainingBatch;
use super::loss::LossHistory;
use super::noising::{Noised, Noising};
use super::objective::Objective;
use super::optimizer::{AdamW, AdamWSettings};
use super::ranks::{Gradients, Ranks, broadcast_text};
use super::request::TrainRequest;
use super::sampler::{dropout_seed, initial_weights_seed};
use super::scale::LossScale;
use crate::diffusion::schedule::{Respacing, Schedule};
use crate::host::sent;
use crate::nn::weights::variables;
use crate::nn::{Activations, Dropout, Labels, Mode};
use crate::shim::ShimError;
use crate::shim::numerics::{LowPrecision, autocast};
use crate::shim::training::drop_gradients;
use crate::tensors::NamedTensors;

/// Everything that a step changes.
#[derive(Debug)]
pub(super) struct Learner {
    seed: u64,
    rank: u64,
    kind: Kind,
    device: Device,
    /// Precision of products and convolutions below float32.
    low: Option<LowPrecision>,
    /// Samples that pass through the network at once.
    piece: usize,
    dropout: Dropout,
    activations: Activations,
    objective: Objective,
    /// The same network with the averaged weights.
    average: Objective,
    weights: NamedTensors,
    optimizer: AdamW,
    ema: Ema,
    scale: Option<LossScale>,
    noising: Noising,
    gradients: Gradients,
    pub(super) loss: LossHistory,
    pub(super) step: u64,
}

/// What the backward pass of a share says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backward {
    /// This rank's part of the mean loss over the global batch.
    pub(super) loss: f64,
    /// How long it waited for the sums of the gradients.
    pub(super) waited: Duration,
}

/// What rank 0 tells the others before the tensors.
#[derive(Serialize, Deserialize)]
struct Start {
    step: u64,
    updates: i64,
    loss: LossHistory,
    scale: Option<LossScale>,
}

impl Learner {
    /// Fresh weights, or those of a checkpoint; then every rank has those of rank 0.
    pub(super) fn start(
        request: &TrainRequest<'_>,
        state: Option<TrainingState>,
    ) -> Result<Self, TrainError> {
        let train = &request.train;
        let device = request.device;
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::None)?;
        let (objective, weights) = fresh(request, &schedule, VarStore::unfreeze);
        let (average, averages) = fresh(request, &schedule, VarStore::freeze);
        let settings = AdamWSettings {
            learning_rate: train.learning_rate,
            ..AdamWSettings::default()
        };
        let optimizer = AdamW::new(settings, &weights);
        let mut learner = Self {
            seed: train.seed,
            rank: request.ranks.rank() as u64,
            kind: request.kind,
            device,
            low: match train.precision {
                TrainPrecision::Fp32 | TrainPrecision::Tf32 => None,
                TrainPrecision::Bf16 => Some(LowPrecision::Bf16),
                TrainPrecision::Fp16 => Some(LowPrecision::Fp16),
            },
            piece: train
                .micro_batch
                .and_then(|piece| usize::try_from(piece).ok())
                .unwrap_or(usize::MAX)
                .max(1),
            dropout: Dropout::new(train.dropout, device)?,
            activations: if train.checkpoint_activations {
                Activations::Recomputed
            } else {
                Activations::Kept
            },
            objective,
            average,
            ema: Ema::within(train.ema, averages, &weights),
            scale: (train.precision == TrainPrecision::Fp16).then(LossScale::default),
            noising: Noising::new(&schedule, device),
            gradients: Gradients::new(request.ranks, &optimizer.parameters())?,
            optimizer,
            weights,
            loss: LossHistory::new(train.steps),
            step: 0,
        };
        if let Some(state) = state {
            learner.restore(state)?;
        }
        if let Ranks::Together(_) = request.ranks {
            learner.join(request)?;
        }
        Ok(learner)
    }

    fn restore(&mut self, state: TrainingState) -> Result<(), TrainError> {
        copy_weights(&self.weights, &state.model)?;
        copy_weights(&self.ema.weights(), &state.ema)?;
        self.optimizer.restore(&state.optimizer)?;
        if let Some(scale) = &mut self.scale {
            scale.restore(&state.optimizer);
        }
        self.loss = state.loss;
        self.step = state.step;
        Ok(())
    }

    /// Takes over the state of rank 0, and lets the ranks agree on the order of gradients.
    fn join(&mut self, request: &TrainRequest<'_>) -> Result<(), TrainError> {
        let Ranks::Together(others) = request.ranks else {
            return Ok(());
        };
        let start = Start {
            step: self.step,
            updates: self.optimizer.updates(),
            loss: self.loss.clone(),
            scale: self.scale,
        };
        let text = serde_json::to_vec(&start).map_err(TrainError::State)?;
        let text = broadcast_text(others, self.device, text)?;
        let start: Start = serde_json::from_slice(&text).map_err(TrainError::State)?;
        self.step = start.step;
        self.optimizer.set_updates(start.updates);
        self.loss = start.loss;
        self.scale = start.scale;
        for tensors in [
            &self.weights,
            &self.ema.weights(),
            &self.optimizer.moments(),
        ] {
            for tensor in tensors.values() {
                others.broadcast(tensor, 0)?;
            }
        }
        // The order in which gradients come is seen in a pass over nothing, not in the first step:
        // a resumed run then adds in the order of an undisturbed one.
        let [channels, height, width] = request.data.shape().map(|size| size.cast_signed() as i64);
        let nothing = Tensor::zeros([1, channels, height, width], (self.kind, self.device));
        let index = Tensor::zeros([1], (Kind::Int64, self.device));
        let nothing = Noised {
            x0: nothing.shallow_clone(),
            noise: nothing.shallow_clone(),
            x_t: nothing,
            times: index.shallow_clone(),
            labels: index,
        };
        let loss = self.loss_of(&nothing)?;
        self.gradients.add(&loss, true)?;
        self.gradients.settle_order()?;
        drop_gradients(&self.optimizer.parameters())?;
        Ok(())
    }

    pub(super) fn times(&self) -> usize {
        self.noising.times()
    }

    pub(super) fn state(&self) -> TrainingState {
        let mut optimizer = self.optimizer.state();
        if let Some(scale) = &self.scale {
            scale.save(&mut optimizer);
        }
        TrainingState {
            step: self.step,
            model: self
                .weights
                .iter()
                .map(|(name, weight)| (name.clone(), weight.detach()))
                .collect(),
            ema: self.ema.weights(),
            optimizer,
            loss: self.loss.clone(),
        }
    }

    /// Computes the gradients of the next step, summed over the ranks, from this rank's share of a
    /// global batch of `global` samples.
    pub(super) fn backward(
        &mut self,
        share: &TrainingBatch,
        global: usize,
    ) -> Result<Backward, TrainError> {
        let seed = dropout_seed(self.seed, share.step, self.rank);
        self.dropout.seed(seed)?;
        let samples = share.slices.len();
        let mut parts = Vec::new();
        let mut waited = Duration::ZERO;
        let mut start = 0;
        while start < samples {
            let length = self.piece.min(samples - start);
            let noised = self.noised(share, start, length);
            // Each piece counts by its samples, so that the sum over pieces and ranks is the
            // gradient of the mean over the global batch.
            #[allow(clippy::cast_precision_loss)] // batches are small
            let weight = length as f64 / global as f64;
            let loss = self.loss_of(&noised)? * weight;
            start += length;
            let scaled = match &self.scale {
                Some(scale) => &loss * scale.factor(),
                None => loss.shallow_clone(),
            };
            waited += self.gradients.add(&scaled, start == samples)?;
            parts.push(loss.detach());
        }
        Ok(Backward {
            loss: parts.iter().map(|part| part.double_value(&[])).sum(),
            waited,
        })
    }

    fn noised(&self, batch: &TrainingBatch, start: usize, length: usize) -> Noised {
        let (start, length) = (start.cast_signed() as i64, length.cast_signed() as i64);
        let part = |tensor: &Tensor| sent(&tensor.narrow(0, start, length), self.device);
        let (x0, noise) = (part(&batch.x0), part(&batch.noise));
        let times = part(&batch.times);
        let x_t = self.noising.noised(&x0, &noise, &times);
        Noised {
            x0: x0.to_kind(self.kind),
            noise: noise.to_kind(self.kind),
            x_t: x_t.to_kind(self.kind),
            times,
            labels: part(&batch.labels),
        }
    }

    fn loss_of(&self, noised: &Noised) -> Result<Tensor, ShimError> {
        let mode = Mode::Train {
            dropout: &self.dropout,
            activations: self.activations,
        };
        self.lowered(|| self.objective.loss(noised, mode))
    }

    /// Runs a part of the network in the precision of training.
    fn lowered<T>(&self, body: impl FnOnce() -> T) -> Result<T, ShimError> {
        match self.low {
            Some(low) => autocast(self.device, low, body),
            None => Ok(body()),
        }
    }

    /// The mean loss of the averaged weights on `batch`, without dropout.
    pub(super) fn average_loss(&self, batch: &TrainingBatch) -> Result<f64, TrainError> {
        let noised = self.noised(batch, 0, batch.slices.len());
        let loss = tch::no_grad(|| self.lowered(|| self.average.loss(&noised, Mode::Eval)))?;
        Ok(loss.double_value(&[]))
    }

    /// The noise that the averaged weights see in `x` (f32 `[N, C, H, W]`) at `times`; `None` for a
    /// classifier.
    pub(super) fn average_noise(
        &self,
        x: &Tensor,
        times: &Tensor,
        labels: &Tensor,
    ) -> Result<Option<Tensor>, TrainError> {
        let Some(unet) = self.average.unet() else {
            return Ok(None);
        };
        let x = x.to_kind(self.kind).to_device(self.device);
        let (times, labels) = (times.to_device(self.device), labels.to_device(self.device));
        let labels = Labels::PerSample(labels);
        let output =
            tch::no_grad(|| self.lowered(|| unet.forward(&x, &times, &labels, Mode::Eval)))?;
        let noise = output.narrow(1, 0, x.size().get(1).copied().unwrap_or(0));
        Ok(Some(noise.to_kind(Kind::Float).to_device(Device::Cpu)))
    }

    /// Samples that pass through the network at once, at most.
    pub(super) const fn piece(&self) -> usize {
        self.piece
    }

    /// Updates weights and averages with the gradients of [`backward`](Self::backward), which are
    /// used up. `loss` is the mean over the global batch.
    pub(super) fn update(&mut self, loss: f64) -> Result<(), TrainError> {
        let parameters = self.optimizer.parameters();
        let gradients: Vec<Tensor> = parameters.iter().map(|weight| weight.grad()).collect();
        drop_gradients(&parameters)?;
        let usable = match &mut self.scale {
            Some(scale) if !loss.is_finite() => {
                scale.overflowed();
                false
            }
            Some(scale) => scale.unscale(&gradients)?,
            None => true,
        };
        if usable {
            self.optimizer.step(&gradients)?;
            self.ema.update(&self.weights)?;
        }
        self.step += 1;
        // A step that was left out has no loss to be shown.
        let shown = Some(loss).filter(|loss| loss.is_finite());
        let shown = shown.or_else(|| self.loss.recent_mean()).unwrap_or(0.0);
        self.loss.push(self.step, shown);
        Ok(())
    }

    /// Whether a loss that is not finite may be the loss scale's doing: a smaller one is tried before training ends.
    pub(super) fn may_scale_down(&self) -> bool {
        self.scale.as_ref().is_some_and(LossScale::may_shrink)
    }

    /// A weight that is not finite: a finite loss can still have had infinite gradients.
    pub(super) fn broken_weight(&self) -> Option<&str> {
        self.weights
            .iter()
            .find(|(_, weight)| weight.isfinite().all().int64_value(&[]) == 0)
            .map(|(name, _)| name.as_str())
    }
}

/// The network with fresh weights, drawn on the CPU so that they do not depend on the device, and the
/// weights by name.
fn fresh(
    request: &TrainRequest<'_>,
    schedule: &Schedule,
    prepare: fn(&mut VarStore),
) -> (Objective, NamedTensors) {
    /// tch draws fresh weights from torch's global generator: the one use that training makes of it.
    static DRAWING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(initial_weights_seed(request.train.seed).cast_signed());
    let mut vs = VarStore::new(Device::Cpu);
    let objective = Objective::new(
        request.role,
        &vs.root(),
        &request.network,
        schedule,
        request.device,
    );
    if request.kind == Kind::Double {
        vs.double();
    }
    vs.set_device(request.device);
    prepare(&mut vs);
    (objective, variables(&vs))
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
