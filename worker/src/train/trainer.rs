//! The training loop: shares of batches, updates, checkpoints, and when it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::network::NetworkConfig;
use anofpdm_common::role::Role;
use anofpdm_common::spec::TrainSpec;
use tch::{Device, Kind};

use super::checkpoint::{Checkpoints, EMA_FILE, Identity, State, checkpoint_path};
use super::data::TrainingData;
use super::error::TrainError;
use super::learner::Learner;
use super::loss::LossPoint;
use super::picture;
use super::ranks::{AbortUnlessDone, Ranks};
use super::samples_log::SamplesLog;
use super::speed::Speed;
use super::steps::{Steps, check_fit};
use super::validation::Validation;

/// How long the other ranks wait for rank 0 to write a checkpoint or draw a picture.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// One training run.
#[derive(Debug, Clone)]
pub struct TrainRequest<'a> {
    /// What the network is for: decides loss, noise, labels and which slices it sees.
    pub role: Role,
    /// The architecture.
    pub network: NetworkConfig,
    /// How long and how fast. `batch` is the global one; who shares it is in `ranks`, not in `devices`.
    pub train: TrainSpec,
    /// The training slices, healthy and not; a role that learns from healthy ones chooses them.
    pub data: Arc<dyn TrainingData>,
    /// Validation slices, for `train.validate_every`.
    pub validation: Option<Arc<dyn TrainingData>>,
    /// Folder of the checkpoints; training goes on from the last one in it. Only rank 0 uses it.
    pub checkpoints: &'a Path,
    /// Where to compute.
    pub device: Device,
    /// What the checkpoints belong to.
    pub identity: Identity,
    /// Who trains.
    pub ranks: Ranks<'a>,
    /// With a generation, rank 0 keeps a log of the samples of every step beside the checkpoints.
    pub generation: Option<u64>,
    /// Kind of weights and states: float32, or float64 to check the arithmetic.
    pub kind: Kind,
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
    /// Go on.
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

/// Trains until `request.train.steps`, from the last checkpoint if there is one. `progress` is
/// called after every step. On the CPU with a fixed number of threads and of ranks the result is the
/// same bits however often the run was interrupted. Of several ranks every one calls this with the
/// same request but its own `ranks`; when it fails on one, the others soon fail too.
///
/// # Errors
/// See [`TrainError`]; what was checkpointed before stays.
pub fn train(
    request: &TrainRequest<'_>,
    progress: &mut dyn FnMut(&TrainProgress) -> Control,
) -> Result<TrainOutcome, TrainError> {
    let guard = AbortUnlessDone::new(request.ranks);
    let outcome = train_share(request, progress)?;
    guard.done();
    Ok(outcome)
}

fn train_share(
    request: &TrainRequest<'_>,
    progress: &mut dyn FnMut(&TrainProgress) -> Control,
) -> Result<TrainOutcome, TrainError> {
    check_fit(request)?;
    let steps = request.train.steps;
    let ranks = request.ranks;
    let mut record = Record::open(request)?;
    let mut training = Steps::start(request, record.latest(steps)?)?;
    let batch = training.batch;
    record.saved = training.learner.step;
    let validation = Validation::of(request, &training.learner, batch)?;
    let mut speed = Speed::default();
    let mut asked = Control::Continue;
    let mut ending = false;
    while training.learner.step < steps && !ending {
        let start = Instant::now();
        let heard = training.next(asked == Control::Stop)?;
        let learner = &training.learner;
        record.trained(learner.step, &heard.slices)?;
        let took = start.elapsed();
        speed.push(took);
        let step = learner.step;
        let validates =
            validation.is_some() && (due(step, request.train.validate_every) || step == steps);
        let saves = due(step, request.train.checkpoint_every) || step == steps || heard.stop;
        let draws = due(step, request.train.sample_every);
        asked = progress(&TrainProgress {
            step,
            steps,
            loss: learner.loss.recent_mean().unwrap_or(f64::NAN),
            images_per_second: speed.images_per_second(batch),
            took,
            summing: training.summing,
            samples: training.samples,
            saved: record.saved_at,
            interlude: validates || saves || draws,
        });
        ending = match ranks {
            Ranks::Alone => asked == Control::Stop,
            // What this rank was asked now the others hear in the next step.
            Ranks::Together(_) => heard.stop,
        };
        let mut save = saves || ending;
        if let Some(validation) = validation.as_ref().filter(|_| validates) {
            let loss = validation.loss(&training.learner)?;
            tracing::info!(step, loss, "validated");
            save |= training.learner.loss.push_validation(step, loss);
        }
        if save {
            training.check_weights(&heard)?;
            record.save(&training.learner, ranks)?;
        }
        if draws {
            record.draw(request, &training.learner)?;
        }
    }
    let learner = &training.learner;
    let checkpoint = checkpoint_path(request.checkpoints, record.saved);
    Ok(TrainOutcome {
        step: learner.step,
        loss: learner.loss.recent_mean().unwrap_or(f64::NAN),
        curve: learner.loss.curve().to_vec(),
        validation: learner.loss.validation().to_vec(),
        best: learner.loss.best(),
        images_per_second: speed.images_per_second(batch),
        ema: checkpoint.join(EMA_FILE),
        checkpoint,
    })
}

/// Whether something is due after `step`; never for 0.
const fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// What rank 0 writes down.
struct Record {
    /// Only rank 0 has any.
    checkpoints: Option<Checkpoints>,
    samples: Option<SamplesLog>,
    /// Step of the last checkpoint.
    saved: u64,
    /// When it was written, or when this process began.
    saved_at: Instant,
}

impl Record {
    fn open(request: &TrainRequest<'_>) -> Result<Self, TrainError> {
        let mut record = Self {
            checkpoints: None,
            samples: None,
            saved: 0,
            saved_at: Instant::now(),
        };
        if request.ranks.is_first() {
            record.checkpoints = Some(Checkpoints::open(
                request.checkpoints,
                &request.network,
                request.identity,
                request.train.keep as usize,
            )?);
            record.samples = request
                .generation
                .map(|generation| SamplesLog::open(request.checkpoints, generation))
                .transpose()
                .map_err(TrainError::SamplesLog)?;
        }
        Ok(record)
    }

    fn latest(&self, steps: u64) -> Result<Option<State>, TrainError> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(None);
        };
        match checkpoints.latest()? {
            Some(state) if state.step > steps => Err(TrainError::Beyond {
                found: state.step,
                steps,
            }),
            state => Ok(state),
        }
    }

    fn trained(&mut self, step: u64, slices: &[usize]) -> Result<(), TrainError> {
        match &mut self.samples {
            Some(log) => log.push(step, slices).map_err(TrainError::SamplesLog),
            None => Ok(()),
        }
    }

    /// Writes a checkpoint; the other ranks wait for it.
    fn save(&mut self, learner: &Learner, ranks: Ranks<'_>) -> Result<(), TrainError> {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.save(&learner.state())?;
        }
        self.saved = learner.step;
        await_first(ranks)?;
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Draws a sample picture; the other ranks wait for it.
    fn draw(&self, request: &TrainRequest<'_>, learner: &Learner) -> Result<(), TrainError> {
        if request.ranks.is_first() {
            picture::draw(request, learner)?;
        }
        await_first(request.ranks)
    }
}

/// Waits until rank 0 has written something.
fn await_first(ranks: Ranks<'_>) -> Result<(), TrainError> {
    match ranks {
        Ranks::Alone => Ok(()),
        Ranks::Together(others) => Ok(others.barrier(WRITE_TIMEOUT)?),
    }
}
