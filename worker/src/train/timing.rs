//! How long training steps take, without anything being written down.

use std::time::{Duration, Instant};

use super::error::TrainError;
use super::ranks::AbortUnlessDone;
use super::request::TrainRequest;
use super::steps::{TrainingSteps, check_fit};

/// One step's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    pub whole: Duration,
    /// Of it, waiting for samples to be loaded.
    pub waited: Duration,
}

/// Does the steps of `request` from fresh weights and returns how long each took. No checkpoint is
/// read or written.
pub fn time_steps(request: &TrainRequest<'_>) -> Result<Vec<StepTime>, TrainError> {
    let guard = AbortUnlessDone::new(request.ranks);
    check_fit(request)?;
    let mut training = TrainingSteps::start(request, None)?;
    let mut times = Vec::new();
    while training.learner.step < request.train.steps {
        let start = Instant::now();
        training.next(false)?;
        times.push(StepTime {
            whole: start.elapsed(),
            waited: training.waited,
        });
    }
    guard.done();
    Ok(times)
}
