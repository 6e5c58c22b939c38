//! Classifier-free guidance (Sanchez et al., 2022; DDIB): encoded with the null label, decoded with
//! guidance to the healthy one.

use std::ops::ControlFlow;

use anofpdm_common::baseline::Setting;
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::anofpdm::ForwardError;
use super::ddim_encoding::{Clip, Encoding};
use super::predictor::{Counted, NoisePredictor};
use super::restoration::{
    Difference, Restoration, Restored, RestoredBatch, Steps, check, finished, scale,
};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::reverse::ddim_down;
use crate::diffusion::schedule::Schedule;
use crate::nn::ClassLabel;

/// The method on its network.
pub(super) struct DdimClfFree<'a> {
    /// Trained with and without labels.
    pub(super) predictor: &'a mut dyn NoisePredictor,
    /// Noise schedule.
    pub(super) schedule: &'a Schedule,
    /// Published: a latent at index S - 1. Port: off by one at both ends, since a latent at index S,
    /// of an x0 taken for index 0, is decoded from index S - 1.
    pub(super) form: BaselineForm,
    /// How predicted x0 are kept in range.
    pub(super) clip: Clip,
}

impl Restoration for DdimClfFree<'_> {
    /// One encode of the largest S, and 2 S evaluations a setting. Draws no noise. The strength is w
    /// of Eq. 6.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError> {
        check(self.schedule, x0, noise, settings, |_| 0)?;
        let encoding = Encoding {
            schedule: self.schedule,
            form: self.form,
            label: ClassLabel::Null,
            clip: self.clip,
        };
        let mut predictor = Counted::new(self.predictor);
        let mut steps = Steps::new(progress);
        let restored = tch::no_grad(|| {
            let latents = encoding.latents(x0, settings, &mut predictor, &mut steps)?;
            let decoded = settings.iter().zip(latents).map(|(setting, latent)| {
                let mut x = latent.shallow_clone();
                for index in (0..scale(setting)).rev() {
                    let time = self.schedule.network_time(index);
                    let (healthy, null) = predictor.predict_pair(&x, time);
                    let w = setting.strength;
                    let epsilon = healthy * (1.0 + w) - null * w;
                    let predicted = self.clip.x0(self.schedule, index, &x, &epsilon);
                    x = ddim_down(self.schedule, index, &x, &predicted);
                    steps.tick()?;
                }
                finished(Restored {
                    setting: *setting,
                    latent,
                    target: x,
                    difference: Difference::Squared,
                })
            });
            decoded.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: predictor.evaluations(),
            classifier_evaluations: 0,
        })
    }
}
