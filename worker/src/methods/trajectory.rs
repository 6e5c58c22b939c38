//! The walk up the noise levels: the noised input at each index and the two predictions on it.
//!
//! It does not depend on the guidance strength, so one walk serves every strength (DESIGN 8).

use std::collections::VecDeque;

use anofpdm_common::method::Encoding;
use anofpdm_common::semantics::{DdimStepping, Switches};
use tch::Tensor;

use super::predictor::NoisePredictor;
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{ddim_up, q_sample};
use crate::nn::ClassLabel;

/// What is known at one index.
#[derive(Debug)]
pub struct Visit {
    /// Noised input, f32 `[N, C, H, W]`.
    pub x: Tensor,
    /// epsilon(x, t, healthy), same shape.
    pub healthy: Tensor,
    /// epsilon(x, t, null), same shape.
    pub null: Tensor,
}

/// One walk over a batch, index by index from 0.
#[derive(Debug)]
pub struct Trajectory<'a> {
    schedule: &'a Schedule,
    encoding: Encoding,
    switches: Switches,
    x0: &'a Tensor,
    noise: &'a NoiseSource,
    steps: usize,
    /// Input and null prediction of the index before.
    previous: Option<(Tensor, Tensor)>,
    /// Visits to come that are predicted already: in DDPM encoding no index needs the one before.
    ahead: VecDeque<Visit>,
}

impl<'a> Trajectory<'a> {
    /// A walk of `steps` indices over the slices `x0`, f32 `[N, C, H, W]` in [-1, 1].
    pub fn new(
        schedule: &'a Schedule,
        encoding: Encoding,
        switches: Switches,
        x0: &'a Tensor,
        noise: &'a NoiseSource,
        steps: usize,
    ) -> Self {
        Self {
            schedule,
            encoding,
            switches,
            x0,
            noise,
            steps,
            previous: None,
            ahead: VecDeque::new(),
        }
    }

    /// Number of indices that fresh noise is needed for on a walk of `steps`.
    pub const fn noise_needed(encoding: Encoding, steps: usize) -> usize {
        match encoding {
            Encoding::Ddim => 1,
            Encoding::Ddpm => steps,
        }
    }

    /// Goes to `index`, which must be the one after the last visit (0 at first).
    pub fn visit(&mut self, index: usize, predictor: &mut dyn NoisePredictor) -> Visit {
        if self.encoding == Encoding::Ddpm {
            if self.ahead.is_empty() {
                self.look_ahead(index, predictor);
            }
            if let Some(visit) = self.ahead.pop_front() {
                return visit;
            }
        }
        let x = match self.previous.take() {
            Some((x, null)) => self.step_up(index, x, null, predictor),
            None => self.noised(index),
        };
        let (healthy, null) = predictor.predict_pair(&x, self.schedule.network_time(index));
        self.previous = Some((x.shallow_clone(), null.shallow_clone()));
        Visit { x, healthy, null }
    }

    /// Predicts at `index` and as many after it as are best predicted together.
    fn look_ahead(&mut self, index: usize, predictor: &mut dyn NoisePredictor) {
        let slices = usize::try_from(self.x0.size()[0]).unwrap_or(1).max(1);
        let together = (predictor.slices_together() / slices).max(1);
        let last = index
            .saturating_add(together)
            .min(self.steps.max(index + 1));
        let inputs: Vec<(Tensor, i64)> = (index..last)
            .map(|index| (self.noised(index), self.schedule.network_time(index)))
            .collect();
        let pairs = predictor.predict_pairs(&inputs);
        let visits = inputs.into_iter().zip(pairs);
        self.ahead
            .extend(visits.map(|((x, _), (healthy, null))| Visit { x, healthy, null }));
    }

    fn noised(&self, index: usize) -> Tensor {
        let noise = self.noise.at(index, &self.x0.size(), self.x0.device());
        q_sample(self.schedule, index, self.x0, &noise)
    }

    fn step_up(
        &self,
        index: usize,
        x: Tensor,
        null: Tensor,
        predictor: &mut dyn NoisePredictor,
    ) -> Tensor {
        let clamp = self.switches.clamp_x0;
        match self.switches.ddim {
            // The null prediction of the last visit is the one Eq. 4 asks for: no extra evaluation.
            DdimStepping::Equation4 => ddim_up(self.schedule, index - 1, &x, &null, clamp),
            DdimStepping::ReferenceShifted => {
                let time = self.schedule.network_time(index);
                let null = predictor.predict(&x, time, ClassLabel::Null);
                ddim_up(self.schedule, index, &x, &null, clamp)
            }
        }
    }
}
