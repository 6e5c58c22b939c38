//! CG-CDM (Hu et al., MICCAI 2023): two guided chains from the same noised slice, one told "unhealthy",
//! the other a label moved almost there; what they differ by, step for step, is a finite difference of
//! the chain in the label.
//!
//! Facts are of the authors' code (xhu248/cond_ddpm_wsss): a slice noised to t = 400 of 4000, ten DDIM
//! steps from t = 399, classifier scale 10. The second chain is led to "healthy", and its network is
//! told 95 % of the embedding of the class and 5 % of that of "healthy". The authors run it on slices
//! with a tumour only; here every slice is taken for one, since its label is what is asked.
//! On the 1000-step schedule t = 100 is the same noise level; a network of 4000 steps takes a schedule
//! of 4000.

use anofpdm_common::baseline::{CG_CDM_STEPS, Setting};
use tch::Tensor;

use super::classifier_guidance::{ClassifierGuidance, guided_down};
use super::driver::{RestorationMethod, Walk, scale};
use super::restored::Difference;
use crate::diffusion::step::q_sample;
use crate::method_error::MethodError;
use crate::nn::ClassLabel;
use crate::predictor::{Counted, LabelGuide, NoisePredictor};

/// Share of the unhealthy embedding in the label of the second chain.
const MOVED: f64 = 0.95;

/// Twice min(S, 10) evaluations of each network a setting; the one that predicts noise is conditioned on the label. Noise
/// of index 0 makes the latent, at index S; the chains start at index S - 1, as the authors have it. The strength is the
/// scale of the gradient. The target is where the second chain ends.
pub(super) struct CgCdm<'a> {
    pub(super) guide: Counted<'a, dyn LabelGuide + 'a>,
}

impl RestorationMethod for CgCdm<'_> {
    fn noise_needed(&self, _: usize) -> usize {
        1
    }

    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        let noise = walk.gaussian(0);
        let latents = settings
            .iter()
            .map(|setting| q_sample(walk.schedule, scale(setting), walk.x0, &noise)); // Eq. 2
        Ok(latents.collect())
    }

    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        latent: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError> {
        let (schedule, guide) = (walk.schedule, &mut self.guide);
        let to = |label| ClassifierGuidance {
            label,
            scale: setting.strength,
        };
        let (mut unhealthy, mut moved) = (latent.shallow_clone(), latent.shallow_clone());
        let mut difference = walk.x0.zeros_like();
        let indices = (0..scale(setting)).rev().take(CG_CDM_STEPS as usize);
        for index in indices {
            let label = ClassLabel::Unhealthy;
            let epsilon = walk.predict(index, &unhealthy, label);
            unhealthy = guided_down(schedule, index, &unhealthy, &epsilon, guide, to(label));
            let time = schedule.network_time(index);
            let epsilon = walk.predictor.predict_between(&moved, time, MOVED);
            let label = ClassLabel::Healthy;
            moved = guided_down(schedule, index, &moved, &epsilon, guide, to(label));
            difference += &unhealthy - &moved;
            walk.step_done()?;
        }
        Ok((moved, Difference::Signed(difference)))
    }

    fn classifier_evaluations(&self) -> u64 {
        self.guide.evaluations()
    }
}
