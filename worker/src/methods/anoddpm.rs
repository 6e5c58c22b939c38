//! AnoDDPM (Wyatt et al., 2022): noised part of the way, and brought back by a network that has seen
//! healthy slices only. Gaussian or simplex noise, the same on both ways.

use std::ops::ControlFlow;

use anofpdm_common::baseline::{Sampler, Setting};
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::anofpdm::ForwardError;
use super::input::check_batch;
use super::predictor::{Counted, NoisePredictor};
use super::restoration::{
    Difference, Restoration, Restored, RestoredBatch, Steps, check, finished, scale,
};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::reverse::{ReverseStep, Variance, ddim_down};
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{predict_x0, q_sample};
use crate::nn::ClassLabel;

/// The method on its network.
pub(super) struct AnoDdpm<'a> {
    /// Trained on healthy slices, without labels.
    pub(super) predictor: &'a mut dyn NoisePredictor,
    /// Noise schedule.
    pub(super) schedule: &'a Schedule,
    /// Published: ancestral steps have the posterior variance (Eq. 3). Port: beta, "fixed large".
    pub(super) form: BaselineForm,
    /// The noise it was trained on.
    pub(super) family: NoiseFamily,
    /// How it walks back.
    pub(super) sampler: Sampler,
}

impl Restoration for AnoDdpm<'_> {
    /// S evaluations a setting. Noise of index 0 makes the latent at index S - 1, that of index 1 + k
    /// enters the k-th ancestral step; the last step takes none. A setting's strength is not used.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError> {
        let sampler = self.sampler;
        check(self.schedule, x0, noise, settings, |scale| match sampler {
            Sampler::Ancestral => scale,
            Sampler::Ddim => 1,
        })?;
        let walk = Walk {
            schedule: self.schedule,
            form: self.form,
            family: self.family,
            sampler,
            noise,
            x0,
            shape: check_batch(x0)?,
        };
        let mut predictor = Counted::new(self.predictor);
        let mut steps = Steps::new(progress);
        let restored = tch::no_grad(|| {
            settings
                .iter()
                .map(|setting| walk.restore(*setting, &mut predictor, &mut steps))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: predictor.evaluations(),
            classifier_evaluations: 0,
        })
    }
}

/// What the settings of a call have in common.
struct Walk<'a> {
    schedule: &'a Schedule,
    form: BaselineForm,
    family: NoiseFamily,
    sampler: Sampler,
    noise: &'a NoiseSource,
    x0: &'a Tensor,
    shape: [i64; 4],
}

impl Walk<'_> {
    fn restore(
        &self,
        setting: Setting,
        predictor: &mut dyn NoisePredictor,
        steps: &mut Steps<'_>,
    ) -> Result<Restored, ForwardError> {
        let first = scale(&setting) - 1;
        let latent = q_sample(self.schedule, first, self.x0, &self.noise_at(0, first));
        let mut x = latent.shallow_clone();
        for (step, index) in (0..=first).rev().enumerate() {
            x = self.step_down(step, index, &x, predictor);
            steps.tick()?;
        }
        finished(Restored {
            setting,
            latent,
            target: x,
            difference: Difference::Squared,
        })
    }

    fn step_down(
        &self,
        step: usize,
        index: usize,
        x: &Tensor,
        predictor: &mut dyn NoisePredictor,
    ) -> Tensor {
        let time = self.schedule.network_time(index);
        let (epsilon, learned) = predictor.predict_with_variance(x, time, ClassLabel::Null);
        let x0 = predict_x0(self.schedule, index, x, &epsilon, true);
        match self.sampler {
            Sampler::Ddim => ddim_down(self.schedule, index, x, &x0),
            Sampler::Ancestral => {
                let variance = match (&learned, self.form) {
                    (Some(values), _) => Variance::Learned(values),
                    (None, BaselineForm::Published) => Variance::Posterior,
                    (None, BaselineForm::Port) => Variance::FixedLarge,
                };
                ReverseStep::new(self.schedule, index, x, &x0, variance)
                    .draw(index, || self.noise_at(1 + step, index))
            }
        }
    }

    /// Noise number `number`, for the level of `index`.
    fn noise_at(&self, number: usize, index: usize) -> Tensor {
        let depth = self.schedule.network_time(index);
        self.noise
            .draw(self.family, number, depth, self.shape, self.x0.device())
    }
}
