//! ANDi (Frotscher et al., 2023): how badly the noise is predicted, step by step, by a network that has
//! seen healthy slices only; the geometric mean over the steps.
//!
//! Every step looks at x0 noised to its own index, as AnoFPDM's stochastic walk does, but needs a
//! network of healthy slices: the null prediction of the guided one has seen lesions.

use anofpdm_common::baseline::{Baseline, Setting};
use tch::{Kind, Tensor};

use super::driver::{RestorationMethod, Walk, scale};
use super::restored::Difference;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{predict_x0, q_sample};
use crate::method_error::MethodError;
use crate::nn::ClassLabel;

/// S - 3 S / 8 evaluations a setting of a network trained on healthy slices, without labels, at indices 3 S / 8 to S - 1
/// (75 to 199 at S = 200), with the noise of each index. The deviation is (mu_q - mu_theta)^2, both means of a step down
/// from the true and the predicted noise. Latent and target are the noised slice of the last index and the x0 predicted
/// there. A setting's strength is not used.
pub(super) struct Andi;

impl RestorationMethod for Andi {
    fn noise_needed(&self, noise_scale: usize) -> usize {
        noise_scale
    }

    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        let last = settings.iter().map(|setting| scale(setting) - 1);
        let noised = |index| q_sample(walk.schedule, index, walk.x0, &walk.gaussian(index)); // Eq. 2
        Ok(last.map(noised).collect())
    }

    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        _: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError> {
        let (schedule, x0) = (walk.schedule, walk.x0);
        let indices = Baseline::andi_first(setting.noise_scale)..setting.noise_scale;
        let mut log_sum = x0.zeros_like().to_kind(Kind::Double);
        let mut target = x0.shallow_clone();
        for index in indices.clone().map(|index| index as usize) {
            let noise = walk.gaussian(index);
            let x = q_sample(schedule, index, x0, &noise); // Eq. 2
            let epsilon = walk.predict(index, &x, ClassLabel::Null);
            log_sum += log_deviation(schedule, index, &noise, &epsilon);
            target = predict_x0(schedule, index, &x, &epsilon, true);
            walk.step_done()?;
        }
        let deviation = (log_sum / f64::from(indices.end - indices.start)).exp();
        Ok((
            target,
            Difference::Deviation(deviation.to_kind(Kind::Float)),
        ))
    }
}

/// Logarithm of (mu_q - mu_theta)^2, f64: the means differ by
/// `beta / sqrt((1 - beta) (1 - alpha_bar))` times the error of the noise. Minus infinity where the
/// noise is met exactly, and the geometric mean is then 0.
fn log_deviation(schedule: &Schedule, index: usize, noise: &Tensor, epsilon: &Tensor) -> Tensor {
    let beta = schedule.betas()[index];
    let factor = beta / ((1.0 - beta) * (1.0 - schedule.alpha_bar(index))).sqrt();
    let error = (noise - epsilon).abs().to_kind(Kind::Double);
    (error.log() + factor.ln()) * 2.0
}
