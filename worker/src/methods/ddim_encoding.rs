//! Deterministic encoding for the baselines: x0 up to a noise level without noise, by DDIM steps.
//!
//! A shorter encode is the beginning of a longer one, so one walk serves every noise scale.

use anofpdm_common::baseline::Setting;
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::anofpdm::ForwardError;
use super::predictor::NoisePredictor;
use super::restoration::{Steps, scale};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{ddim_up_from, from_clean, predict_x0};
use crate::nn::ClassLabel;

/// How predicted x0 are kept in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clip {
    /// Clamped to [-1, 1].
    Fixed,
    /// Dynamic: clamped to the 99 % quantile of its size in the slice and channel, at least 1, and
    /// divided by it (Saharia et al., "Imagen", 2022, section 2.3, as Diff-SCM has it).
    Dynamic,
}

impl From<anofpdm_common::baseline::Clip> for Clip {
    fn from(clip: anofpdm_common::baseline::Clip) -> Self {
        match clip {
            anofpdm_common::baseline::Clip::Fixed => Self::Fixed,
            anofpdm_common::baseline::Clip::Dynamic => Self::Dynamic,
        }
    }
}

impl Clip {
    /// x0 that `epsilon` at `index` implies, in range.
    pub(super) fn x0(
        self,
        schedule: &Schedule,
        index: usize,
        x: &Tensor,
        epsilon: &Tensor,
    ) -> Tensor {
        match self {
            Self::Fixed => predict_x0(schedule, index, x, epsilon, true),
            Self::Dynamic => {
                let x0 = predict_x0(schedule, index, x, epsilon, false);
                let size = x0.abs().flatten(2, 3);
                let bound = size
                    .quantile_scalar(0.99, 2_i64, true, "linear")
                    .clamp_min(1.0)
                    .unsqueeze(3);
                x0.minimum(&bound).maximum(&-&bound) / bound
            }
        }
    }
}

/// A walk up.
pub(super) struct Encoding<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) form: BaselineForm,
    pub(super) label: ClassLabel,
    pub(super) clip: Clip,
}

impl Encoding<'_> {
    /// The latent of each setting, in their order; the walk takes as many evaluations as the largest S.
    ///
    /// Published: the first step leads from the clean slice to index 0, with the noise predicted there
    /// at the network's first time, and each further step from index i to i + 1; the latent of S lies
    /// at index S - 1. Port: x0 is taken for a slice at index 0 and advanced S times, so the latent of S
    /// lies at index S (SCIENCE 9).
    pub(super) fn latents(
        &self,
        x0: &Tensor,
        settings: &[Setting],
        predictor: &mut dyn NoisePredictor,
        steps: &mut Steps<'_>,
    ) -> Result<Vec<Tensor>, ForwardError> {
        let longest = settings.iter().map(scale).max().unwrap_or(0);
        let mut latents: Vec<Tensor> = settings.iter().map(|_| x0.shallow_clone()).collect();
        let mut x = x0.shallow_clone();
        for step in 0..longest {
            x = self.step_up(step, &x, predictor);
            for (latent, setting) in latents.iter_mut().zip(settings) {
                if scale(setting) == step + 1 {
                    *latent = x.shallow_clone();
                }
            }
            steps.tick()?;
        }
        Ok(latents)
    }

    fn step_up(&self, step: usize, x: &Tensor, predictor: &mut dyn NoisePredictor) -> Tensor {
        let schedule = self.schedule;
        let index = match self.form {
            BaselineForm::Port => step,
            BaselineForm::Published => step.saturating_sub(1),
        };
        let epsilon = predictor.predict(x, schedule.network_time(index), self.label);
        if step == 0 && self.form == BaselineForm::Published {
            return from_clean(schedule, x, &epsilon);
        }
        let predicted = self.clip.x0(schedule, index, x, &epsilon);
        ddim_up_from(schedule, index, x, &predicted)
    }
}
