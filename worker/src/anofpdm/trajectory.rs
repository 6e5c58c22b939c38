//! The walk up the noise levels: the noised input at each index and the two predictions on it.
//!
//! It does not depend on the guidance strength, so one walk serves every strength.

use std::collections::VecDeque;

use anofpdm_common::method::Encoding;
use anofpdm_common::semantics::{DdimStepping, Switches};
use tch::Tensor;

use crate::diffusion::noise::NoiseSource;
use crate::diffusion::noise_ahead::NoiseAhead;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{ddim_up, q_sample};
use crate::host::sent;
use crate::nn::ClassLabel;
use crate::predictor::NoisePredictor;

/// x_t and the noise predicted in it at one index.
#[derive(Debug)]
pub struct TrajectoryStep {
    /// Noised input, f32 `[N, C, H, W]`.
    pub x: Tensor,
    /// epsilon(x, t, healthy), same shape.
    pub healthy: Tensor,
    /// epsilon(x, t, null), same shape.
    pub null: Tensor,
}

impl TrajectoryStep {
    /// The same of some channels.
    pub(super) fn select(&self, channels: &Tensor) -> Self {
        let of = |tensor: &Tensor| tensor.index_select(1, channels);
        Self {
            x: of(&self.x),
            healthy: of(&self.healthy),
            null: of(&self.null),
        }
    }
}

/// One walk over a batch, index by index from 0.
#[derive(Debug)]
pub struct ForwardTrajectory<'a> {
    schedule: &'a Schedule,
    encoding: Encoding,
    switches: Switches,
    x0: &'a Tensor,
    noise: &'a NoiseSource,
    steps: usize,
    /// On a GPU, noise that is drawn while it computes.
    noise_ahead: Option<NoiseAhead>,
    /// Input and null prediction of the index before.
    previous: Option<(Tensor, Tensor)>,
    /// Steps to come that are predicted already: in DDPM encoding no index needs the one before.
    ahead: VecDeque<TrajectoryStep>,
}

impl<'a> ForwardTrajectory<'a> {
    /// A walk of `steps` indices over the slices `x0`, f32 `[N, C, H, W]` in [-1, 1].
    pub fn new(
        schedule: &'a Schedule,
        encoding: Encoding,
        switches: Switches,
        x0: &'a Tensor,
        noise: &'a NoiseSource,
        steps: usize,
    ) -> Self {
        let device = x0.device();
        let ahead = device.is_cuda() && encoding == Encoding::Ddpm;
        Self {
            schedule,
            encoding,
            switches,
            x0,
            noise,
            steps,
            noise_ahead: ahead
                .then(|| NoiseAhead::start(noise, 0..steps, &x0.size(), device))
                .flatten(),
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

    /// Goes to `index`, which must be the one after the last (0 at first).
    pub fn advance(&mut self, index: usize, predictor: &mut dyn NoisePredictor) -> TrajectoryStep {
        if self.encoding == Encoding::Ddpm {
            if self.ahead.is_empty() {
                self.look_ahead(index, predictor);
            }
            if let Some(step) = self.ahead.pop_front() {
                return step;
            }
        }
        let x = match self.previous.take() {
            Some((x, null)) => self.step_up(index, x, null, predictor),
            None => self.noised(index),
        };
        let (healthy, null) = predictor.predict_pair(&x, self.schedule.network_time(index));
        self.previous = Some((x.shallow_clone(), null.shallow_clone()));
        TrajectoryStep { x, healthy, null }
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
        let steps = inputs.into_iter().zip(pairs);
        self.ahead
            .extend(steps.map(|((x, _), (healthy, null))| TrajectoryStep { x, healthy, null }));
    }

    fn noised(&mut self, index: usize) -> Tensor {
        let device = self.x0.device();
        let ahead = self
            .noise_ahead
            .as_mut()
            .and_then(|ahead| ahead.take(index));
        let noise = match ahead {
            Some(noise) => sent(&noise, device),
            None => self.noise.at(index, &self.x0.size(), device),
        };
        // Eq. 2.
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
            // Eq. 4. The null prediction of the last step is the one it asks for: no extra evaluation.
            DdimStepping::Equation4 => ddim_up(self.schedule, index - 1, &x, &null, clamp),
            DdimStepping::ReferenceShifted => {
                let time = self.schedule.network_time(index);
                let null = predictor.predict(&x, time, ClassLabel::Null);
                ddim_up(self.schedule, index, &x, &null, clamp)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::semantics::Semantics;
    use tch::{Device, Kind};

    use super::*;
    use crate::diffusion::Respacing;

    /// Says nothing of its input.
    struct Nothing;

    impl NoisePredictor for Nothing {
        fn predict(&mut self, x: &Tensor, _: i64, _: ClassLabel) -> Tensor {
            x.zeros_like()
        }
        fn predict_between(&mut self, x: &Tensor, _: i64, _: f64) -> Tensor {
            x.zeros_like()
        }
        fn slices_together(&self) -> usize {
            5
        }
    }

    #[test]
    fn noise_drawn_ahead_changes_no_bit_of_a_walk() {
        let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
        let x0 = Tensor::zeros([2, 1, 4, 4], (Kind::Float, Device::Cpu));
        let noise = NoiseSource::Counter {
            seed: 3,
            slices: vec![4, 8],
        };
        let steps = 11;
        let walk = |ahead: bool| {
            let switches = Semantics::PaperClipped.switches();
            let mut walk =
                ForwardTrajectory::new(&schedule, Encoding::Ddpm, switches, &x0, &noise, steps);
            assert!(walk.noise_ahead.is_none(), "not on a CPU");
            if ahead {
                walk.noise_ahead = NoiseAhead::start(&noise, 0..steps, &x0.size(), Device::Cpu);
                assert!(walk.noise_ahead.is_some());
            }
            (0..steps)
                .map(|index| walk.advance(index, &mut Nothing).x)
                .collect::<Vec<_>>()
        };
        assert_eq!(walk(true), walk(false));
    }
}
