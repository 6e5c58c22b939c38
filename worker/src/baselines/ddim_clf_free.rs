//! Classifier-free guidance (Sanchez et al., 2022; DDIB): encoded with the null label, decoded with
//! guidance to the healthy one.

use anofpdm_common::baseline::{Clip, Setting};
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::clip::clipped_x0;
use super::ddim_encoding::DdimEncoder;
use super::driver::{RestorationMethod, Walk, scale};
use super::restored::Difference;
use crate::diffusion::reverse::ddim_down;
use crate::method_error::MethodError;
use crate::nn::ClassLabel;
use crate::predictor::NoisePredictor;

/// One encode of the largest S, and 2 S evaluations a setting, of a network trained with and without labels. Draws no
/// noise. The strength is w of Eq. 6.
pub(super) struct DdimClfFree {
    /// Published: a latent at index S - 1. Port: off by one at both ends, since a latent at index S,
    /// of an x0 taken for index 0, is decoded from index S - 1.
    pub(super) form: BaselineForm,
    /// How predicted x0 are kept in range.
    pub(super) clip: Clip,
}

impl RestorationMethod for DdimClfFree {
    fn noise_needed(&self, _: usize) -> usize {
        0
    }

    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        DdimEncoder {
            form: self.form,
            label: ClassLabel::Null,
            clip: self.clip,
        }
        .latents(walk, settings)
    }

    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        latent: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError> {
        let (schedule, w) = (walk.schedule, setting.strength);
        let mut x = latent.shallow_clone();
        for index in (0..scale(setting)).rev() {
            let time = schedule.network_time(index);
            let (healthy, null) = walk.predictor.predict_pair(&x, time);
            let epsilon = healthy * (1.0 + w) - null * w; // Eq. 6
            let predicted = clipped_x0(self.clip, schedule, index, &x, &epsilon);
            x = ddim_down(schedule, index, &x, &predicted);
            walk.step_done()?;
        }
        Ok((x, Difference::Squared))
    }
}
