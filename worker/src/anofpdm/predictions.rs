//! The two predictions of x0 at a noise level, in one step each: healthy-guided (Eq. 6 to 9) and unguided (Eq. 10, 11).

use anofpdm_common::semantics::{Switches, UnguidedLabel};
use tch::Tensor;

use super::trajectory::TrajectoryStep;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::predict_x0;

/// How x0 is predicted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Predictions<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) switches: Switches,
}

impl Predictions<'_> {
    /// HGP at guidance strength w.
    pub(super) fn healthy_guided(&self, index: usize, step: &TrajectoryStep, w: f64) -> Tensor {
        // Eq. 6, with y = h.
        let epsilon = &step.healthy * (1.0 + w) - &step.null * w;
        // Eq. 7.
        self.x0(index, step, &epsilon)
    }

    pub(super) fn unguided(&self, index: usize, step: &TrajectoryStep) -> Tensor {
        let epsilon = match self.switches.unguided {
            UnguidedLabel::Null => &step.null,
            // What the public code has in its place.
            UnguidedLabel::Healthy => &step.healthy,
        };
        // Eq. 10.
        self.x0(index, step, epsilon)
    }

    fn x0(&self, index: usize, step: &TrajectoryStep, epsilon: &Tensor) -> Tensor {
        let clamp = self.switches.clamp_x0;
        predict_x0(self.schedule, index, &step.x, epsilon, clamp)
    }
}
