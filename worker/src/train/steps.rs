//! One step after another: a share of the batch, its gradients, what the ranks hear, the update.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::network::CLASSES;
use anofpdm_common::role::Role;
use anofpdm_common::spec::{Augment, TrainPrecision};
use tch::Device;

use super::checkpoint::TrainingState;
use super::data::TrainingData;
use super::error::TrainError;
use super::healthy::HealthyOnly;
use super::learner::{Backward, Learner};
use super::loader::{LoadPlan, Loader, LoaderError};
use super::ranks::{GlobalStep, RankStep, Ranks, exchange};
use super::request::TrainRequest;
use super::sampler::{Sampler, Tail};
use crate::shim::switches::TrainingSwitches;

/// Samples named in a message, at most.
const NAMED_SAMPLES: usize = 16;

/// A training that is ready for its next step.
#[derive(Debug)]
pub(super) struct TrainingSteps<'a> {
    _switches: Option<TrainingSwitches>,
    ranks: Ranks<'a>,
    device: Device,
    data: Arc<dyn TrainingData>,
    loader: Loader,
    pub(super) learner: Learner,
    pub(super) batch: usize,
    /// How long the last step waited for its samples.
    pub(super) waited: Duration,
    /// How long it waited for sums over the ranks.
    pub(super) summing: Duration,
    /// Samples of its share.
    pub(super) samples: usize,
}

impl<'a> TrainingSteps<'a> {
    /// From `state`, or from fresh weights, until `request.train.steps`.
    pub(super) fn start(
        request: &TrainRequest<'a>,
        state: Option<TrainingState>,
    ) -> Result<Self, TrainError> {
        let ranks = request.ranks;
        let batch = usize::try_from(request.train.batch).unwrap_or(usize::MAX);
        let data = seen_by(request.role, &request.data);
        let tf32 = request.train.precision == TrainPrecision::Tf32;
        let switches = TrainingSwitches::enter(request.device, tf32)?;
        let learner = Learner::start(request, state)?;
        let plan = LoadPlan {
            seed: request.train.seed,
            noise: request.role.noise(),
            sampler: sampler(request, data.len(), batch, learner.times())?,
            steps: learner.step..request.train.steps,
            positions: ranks.share(batch),
            device: request.device,
        };
        Ok(Self {
            _switches: switches,
            ranks,
            device: request.device,
            loader: Loader::start(Arc::clone(&data), plan)?,
            data,
            learner,
            batch,
            waited: Duration::ZERO,
            summing: Duration::ZERO,
            samples: 0,
        })
    }

    /// The next step; `stop` is sent to the other ranks.
    pub(super) fn next(&mut self, stop: bool) -> Result<GlobalStep, TrainError> {
        let start = Instant::now();
        let share = self.loader.next_batch()?;
        self.waited = start.elapsed();
        self.samples = share.slices.len();
        let Backward { loss, waited } = self.learner.backward(&share, self.batch)?;
        let own = RankStep {
            loss,
            stop,
            slices: &share.slices,
        };
        let global = exchange(self.ranks, self.batch, self.device, &own)?;
        self.summing = waited + global.waited;
        // A loss that overflows in float16 is first met with a smaller scale.
        if !global.loss.is_finite() && !self.learner.may_scale_down() {
            let what = format!("loss {}", global.loss);
            return Err(self.diverged(share.step + 1, &what, &global));
        }
        self.learner.update(global.loss)?;
        Ok(global)
    }

    /// A finite loss can still have had infinite gradients: nothing broken is to be written down.
    pub(super) fn check_weights(&self, global: &GlobalStep) -> Result<(), TrainError> {
        match self.learner.broken_weight() {
            Some(name) => {
                let what = format!("weights {name}");
                Err(self.diverged(self.learner.step, &what, global))
            }
            None => Ok(()),
        }
    }

    fn diverged(&self, step: u64, what: &str, global: &GlobalStep) -> TrainError {
        let slices = &global.slices;
        let named = slices.iter().take(NAMED_SAMPLES);
        let mut names: Vec<String> = named.map(|index| self.data.name(*index)).collect();
        if slices.len() > NAMED_SAMPLES {
            names.push(format!("{} more", slices.len() - NAMED_SAMPLES));
        }
        TrainError::Diverged {
            step,
            what: format!("{what} is not finite"),
            samples: names.join(", "),
        }
    }
}

/// Whether what is asked for can be trained at all.
pub(super) fn check_fit(request: &TrainRequest<'_>) -> Result<(), TrainError> {
    let network = &request.network;
    network.validate()?;
    request.role.check(network)?;
    let batch = usize::try_from(request.train.batch).unwrap_or(usize::MAX);
    let world = request.ranks.world();
    if batch < world {
        return Err(TrainError::Share { batch, world });
    }
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
    if request.train.augment == Augment::Flip {
        for index in 0..request.data.len() {
            request.data.left_right(index).map_err(LoaderError::from)?;
        }
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

/// The slices of `data` that a role learns from.
pub(super) fn seen_by(role: Role, data: &Arc<dyn TrainingData>) -> Arc<dyn TrainingData> {
    if role.healthy_only() {
        Arc::new(HealthyOnly::of(Arc::clone(data)))
    } else {
        Arc::clone(data)
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
        // The public classifier saw the same batch in every step: this one sees every slice.
        Role::Classifier => Tail::Carry,
        _ => Tail::Drop,
    };
    let train = &request.train;
    Sampler::new(train.seed, slices, batch, times, train.null_label, tail)
        .map(|sampler| sampler.augmented(train.augment))
        .map_err(|source| {
            if role.healthy_only() {
                TrainError::TooFewHealthy { role, source }
            } else {
                source.into()
            }
        })
}
