//! Deterministic encoding: x0 up to a noise level without noise, by DDIM steps (Eq. 4).
//!
//! A shorter encode is the beginning of a longer one, so one walk serves every noise scale.

use anofpdm_common::baseline::{Clip, Setting};
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::clip::clipped_x0;
use super::driver::{Walk, scale};
use crate::diffusion::step::{ddim_up_from, from_clean};
use crate::method_error::MethodError;
use crate::nn::ClassLabel;

/// How a slice is encoded.
pub(super) struct DdimEncoder {
    pub(super) form: BaselineForm,
    pub(super) label: ClassLabel,
    pub(super) clip: Clip,
}

impl DdimEncoder {
    /// The latent of each setting, in their order; the walk takes as many evaluations as the largest S.
    ///
    /// Published: the first step leads from the clean slice to index 0, with the noise predicted there
    /// at the network's first time, and each further step from index i to i + 1; the latent of S lies
    /// at index S - 1. Port: x0 is taken for a slice at index 0 and advanced S times, so the latent of S
    /// lies at index S.
    pub(super) fn latents(
        &self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        let longest = settings.iter().map(scale).max().unwrap_or(0);
        let mut x = walk.x0.shallow_clone();
        let mut latents: Vec<Tensor> = settings.iter().map(|_| x.shallow_clone()).collect();
        for step in 0..longest {
            x = self.step_up(walk, step, &x);
            for (latent, setting) in latents.iter_mut().zip(settings) {
                if scale(setting) == step + 1 {
                    *latent = x.shallow_clone();
                }
            }
            walk.step_done()?;
        }
        Ok(latents)
    }

    fn step_up(&self, walk: &mut Walk<'_>, step: usize, x: &Tensor) -> Tensor {
        let index = match self.form {
            BaselineForm::Port => step,
            BaselineForm::Published => step.saturating_sub(1),
        };
        let epsilon = walk.predict(index, x, self.label);
        if step == 0 && self.form == BaselineForm::Published {
            return from_clean(walk.schedule, x, &epsilon);
        }
        let predicted = clipped_x0(self.clip, walk.schedule, index, x, &epsilon);
        ddim_up_from(walk.schedule, index, x, &predicted)
    }
}
