//! The loss of the averaged weights on slices that are not trained on.
//!
//! Slices, their t and their noise are the same every time, so that losses of different steps can be
//! compared: t evenly over the schedule, noise by the seed alone.

use std::sync::Arc;

use anofpdm_common::random::{Domain, Stream};
use tch::{Device, Tensor};

use super::data::TrainingData;
use super::error::TrainError;
use super::learner::Learner;
use super::loader::{LoaderError, Recipe, assemble};
use super::ranks::Ranks;
use super::request::TrainRequest;
use super::sampler::Draw;
use super::steps::seen_by;

/// Slices that are validated on, at most: evenly spread over those there are.
const SLICES: usize = 512;
/// Stands for the step in the noise of validation: no training has so many.
const STEP: u64 = u64::MAX;

/// What is validated, and by whom.
#[derive(Debug)]
pub(super) struct Validation<'a> {
    ranks: Ranks<'a>,
    device: Device,
    data: Arc<dyn TrainingData>,
    recipe: Recipe,
    draws: Vec<Draw>,
    /// Samples at once: what a rank has in a training step.
    piece: usize,
}

impl<'a> Validation<'a> {
    /// `None` where the request has no validation.
    ///
    /// # Errors
    /// When it asks for one and has no slices for it.
    pub(super) fn of(
        request: &TrainRequest<'a>,
        learner: &Learner,
        batch: usize,
    ) -> Result<Option<Self>, TrainError> {
        let every = request.train.validate_every;
        if every == 0 {
            return Ok(None);
        }
        let fail = |what: &str| TrainError::Fit(format!("validate_every is {every}, but {what}"));
        let Some(data) = &request.validation else {
            return Err(fail("no validation slices were given"));
        };
        let data = seen_by(request.role, data);
        if data.is_empty() {
            return Err(fail(
                "no validation slice is of the kind this network learns",
            ));
        }
        if data.shape() != request.data.shape() {
            return Err(fail(
                "validation slices differ from the training slices in shape",
            ));
        }
        let ranks = request.ranks;
        Ok(Some(Self {
            ranks,
            device: request.device,
            recipe: Recipe {
                seed: request.train.seed,
                noise: request.role.noise(),
                step: STEP,
                first: 0,
            },
            draws: draws(request.train.seed, data.len(), learner.times()),
            data,
            piece: learner.piece().min(ranks.share(batch).len()).max(1),
        }))
    }

    /// The mean loss over all validation slices; every rank does its share and knows the whole.
    pub(super) fn loss(&self, learner: &Learner) -> Result<f64, TrainError> {
        let share = self.ranks.share(self.draws.len());
        let mut first = share.start;
        let mut total = 0.0;
        for draws in self.draws.get(share).unwrap_or_default().chunks(self.piece) {
            let recipe = Recipe {
                first,
                ..self.recipe
            };
            let batch = assemble(self.data.as_ref(), recipe, draws).map_err(LoaderError::from)?;
            #[allow(clippy::cast_precision_loss)] // batches are small
            let count = draws.len() as f64;
            total += learner.average_loss(&batch)? * count;
            first += draws.len();
        }
        if let Ranks::Together(others) = self.ranks {
            let sum = Tensor::from(total).to_device(self.device);
            others.all_reduce(&sum)?;
            total = sum.double_value(&[]);
        }
        #[allow(clippy::cast_precision_loss)] // at most `SLICES`
        let count = self.draws.len() as f64;
        Ok(total / count)
    }
}

/// Slices evenly over the set, times evenly over the schedule, in no relation to each other.
fn draws(seed: u64, slices: usize, times: usize) -> Vec<Draw> {
    let count = slices.min(SLICES);
    let order = Stream::new(seed, Domain::TrainingSample, STEP, 0).permutation(count);
    order
        .into_iter()
        .enumerate()
        .map(|(index, place)| Draw {
            slice: index * slices / count,
            time: ((2 * place as usize + 1) * times / (2 * count)).cast_signed() as i64,
            null_label: false,
            mirrored: false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_times_are_spread_evenly_and_fixed() {
        for slices in [1, 7, 512, 5000] {
            let found = draws(3, slices, 1000);
            assert_eq!(found, draws(3, slices, 1000));
            assert_eq!(found.len(), slices.min(SLICES));
            let mut times: Vec<i64> = found.iter().map(|draw| draw.time).collect();
            times.sort_unstable();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(times[0] >= 0 && times[times.len() - 1] < 1000);
            assert!(found.iter().all(|draw| draw.slice < slices));
        }
    }
}
