//! AnoDDPM (Wyatt et al., 2022): noised part of the way, and brought back by a network that has seen
//! healthy slices only. Gaussian or simplex noise, the same on both ways.

use anofpdm_common::baseline::{Sampler, Setting};
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::driver::{RestorationMethod, Walk, scale};
use super::restored::Difference;
use crate::diffusion::reverse::{ReverseStep, Variance, ddim_down};
use crate::diffusion::step::{predict_x0, q_sample};
use crate::method_error::MethodError;
use crate::nn::ClassLabel;
use crate::predictor::NoisePredictor;

/// S evaluations a setting of a network trained on healthy slices, without labels. Noise of index 0 makes the latent at
/// index S - 1, that of index 1 + k enters the k-th ancestral step; the last step takes none. A setting's strength is
/// not used.
pub(super) struct AnoDdpm {
    /// Published: ancestral steps have the posterior variance (Eq. 3). Port: beta, "fixed large".
    pub(super) form: BaselineForm,
    /// The noise the network was trained on.
    pub(super) family: NoiseFamily,
    pub(super) sampler: Sampler,
}

impl RestorationMethod for AnoDdpm {
    fn noise_needed(&self, noise_scale: usize) -> usize {
        match self.sampler {
            Sampler::Ancestral => noise_scale,
            Sampler::Ddim => 1,
        }
    }

    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        let latents = settings.iter().map(|setting| {
            let first = scale(setting) - 1;
            let noise = walk.noise(self.family, 0, first);
            q_sample(walk.schedule, first, walk.x0, &noise) // Eq. 2
        });
        Ok(latents.collect())
    }

    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        latent: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError> {
        let mut x = latent.shallow_clone();
        for (step, index) in (0..scale(setting)).rev().enumerate() {
            x = self.step_down(walk, step, index, &x);
            walk.step_done()?;
        }
        Ok((x, Difference::Squared))
    }
}

impl AnoDdpm {
    fn step_down(&self, walk: &mut Walk<'_>, step: usize, index: usize, x: &Tensor) -> Tensor {
        let schedule = walk.schedule;
        let time = schedule.network_time(index);
        let (epsilon, learned) = walk
            .predictor
            .predict_with_variance(x, time, ClassLabel::Null);
        let x0 = predict_x0(schedule, index, x, &epsilon, true);
        match self.sampler {
            Sampler::Ddim => ddim_down(schedule, index, x, &x0),
            // Eq. 3.
            Sampler::Ancestral => {
                let variance = match (&learned, self.form) {
                    (Some(values), _) => Variance::Learned(values),
                    (None, BaselineForm::Published) => Variance::Posterior,
                    (None, BaselineForm::Port) => Variance::FixedLarge,
                };
                ReverseStep::new(schedule, index, x, &x0, variance)
                    .draw(index, || walk.noise(self.family, 1 + step, index))
            }
        }
    }
}
