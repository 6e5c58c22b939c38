//! The training loop: shares of batches, updates, checkpoints, and when it ends.

use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoints, EMA_FILE, TrainingState, checkpoint_path};
use super::error::TrainError;
use super::learner::Learner;
use super::picture;
use super::ranks::{AbortUnlessDone, Ranks};
use super::request::{Control, TrainOutcome, TrainProgress, TrainRequest};
use super::samples_log::SamplesLog;
use super::speed::Speed;
use super::steps::{TrainingSteps, check_fit};
use super::validation::Validation;

/// How long the other ranks wait for rank 0 to write a checkpoint or draw a picture.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

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
    let mut training = TrainingSteps::start(request, record.latest(steps)?)?;
    let batch = training.batch;
    record.saved = training.learner.step;
    let validation = Validation::of(request, &training.learner, batch)?;
    let mut speed = Speed::default();
    let mut asked = Control::Continue;
    let mut ending = false;
    while training.learner.step < steps && !ending {
        let start = Instant::now();
        let global = training.next(asked == Control::Stop)?;
        let learner = &training.learner;
        record.trained(learner.step, &global.slices)?;
        let took = start.elapsed();
        speed.push(took);
        let step = learner.step;
        let validates =
            validation.is_some() && (due(step, request.train.validate_every) || step == steps);
        let saves = due(step, request.train.checkpoint_every) || step == steps || global.stop;
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
            Ranks::Together(_) => global.stop,
        };
        let mut save = saves || ending;
        if let Some(validation) = validation.as_ref().filter(|_| validates) {
            let loss = validation.loss(&training.learner)?;
            tracing::info!(step, loss, "validated");
            save |= training.learner.loss.push_validation(step, loss);
        }
        if save {
            training.check_weights(&global)?;
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

    fn latest(&self, steps: u64) -> Result<Option<TrainingState>, TrainError> {
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
        first_does("checkpoint", ranks, || {
            if let Some(checkpoints) = &self.checkpoints {
                checkpoints.save(&learner.state())?;
            }
            Ok(())
        })?;
        self.saved = learner.step;
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Draws a sample picture; the other ranks wait for it.
    fn draw(&self, request: &TrainRequest<'_>, learner: &Learner) -> Result<(), TrainError> {
        first_does("sample picture", request.ranks, || {
            picture::draw(request, learner)
        })
    }
}

/// Has rank 0 write something while the others wait.
fn first_does(
    what: &'static str,
    ranks: Ranks<'_>,
    write: impl FnOnce() -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    match ranks {
        Ranks::Alone => write(),
        Ranks::Together(others) => others.after_first(what, WRITE_TIMEOUT, write),
    }
}
