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

use std::ops::ControlFlow;

use anofpdm_common::baseline::{CG_CDM_STEPS, Setting};
use anofpdm_common::role::NoiseFamily;
use tch::Tensor;

use super::anofpdm::ForwardError;
use super::guided_step::{Guidance, guided_down};
use super::input::check_batch;
use super::predictor::{Counted, LabelGuide, NoisePredictor};
use super::restoration::{
    Difference, Restoration, Restored, RestoredBatch, Steps, check, finished, scale,
};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::q_sample;
use crate::nn::ClassLabel;

/// Share of the unhealthy embedding in the label of the second chain.
const MOVED: f64 = 0.95;

/// The method on its networks.
pub(super) struct CgCdm<'a> {
    /// Conditioned on the label.
    pub(super) predictor: &'a mut dyn NoisePredictor,
    /// The classifier of noised slices.
    pub(super) guide: &'a mut dyn LabelGuide,
    /// Noise schedule.
    pub(super) schedule: &'a Schedule,
}

impl Restoration for CgCdm<'_> {
    /// Twice min(S, 10) evaluations of each network a setting. Noise of index 0 makes the latent, at
    /// index S; the chains start at index S - 1, as the authors have it. The strength is the scale of
    /// the gradient. The target is where the second chain ends.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError> {
        let schedule = self.schedule;
        check(schedule, x0, noise, settings, |_| 1)?;
        let shape = check_batch(x0)?;
        let mut predictor = Counted::new(self.predictor);
        let mut guide = Counted::new(self.guide);
        let mut steps = Steps::new(progress);
        let gaussian = noise.draw(NoiseFamily::Gaussian, 0, 0, shape, x0.device());
        let restored = tch::no_grad(|| {
            let each = settings.iter().map(|setting| {
                let start = scale(setting);
                let latent = q_sample(schedule, start, x0, &gaussian);
                let mut chains = [latent.shallow_clone(), latent.shallow_clone()];
                let mut difference = x0.zeros_like();
                for index in (0..start).rev().take(CG_CDM_STEPS as usize) {
                    let [unhealthy, moved] = &mut chains;
                    let time = schedule.network_time(index);
                    let guidance = |label| Guidance {
                        label,
                        scale: setting.strength,
                    };
                    let epsilon = predictor.predict(unhealthy, time, ClassLabel::Unhealthy);
                    let to = guidance(ClassLabel::Unhealthy);
                    *unhealthy = guided_down(schedule, index, unhealthy, &epsilon, &mut guide, to);
                    let epsilon = predictor.predict_between(moved, time, MOVED);
                    let to = guidance(ClassLabel::Healthy);
                    *moved = guided_down(schedule, index, moved, &epsilon, &mut guide, to);
                    difference += &*unhealthy - &*moved;
                    steps.tick()?;
                }
                let [_, moved] = chains;
                finished(Restored {
                    setting: *setting,
                    latent,
                    target: moved,
                    difference: Difference::Signed(difference),
                })
            });
            each.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: predictor.evaluations(),
            classifier_evaluations: guide.evaluations(),
        })
    }
}
