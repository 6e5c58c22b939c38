//! ANDi (Frotscher et al., 2023): how badly the noise is predicted, step by step, by a network that has
//! seen healthy slices only; the geometric mean over the steps.
//!
//! Every step looks at x0 noised to its own index, as AnoFPDM's stochastic walk does, but needs a
//! network of healthy slices: the null prediction of the guided one has seen lesions.

use std::ops::ControlFlow;

use anofpdm_common::baseline::{Baseline, Setting};
use anofpdm_common::role::NoiseFamily;
use tch::{Kind, Tensor};

use super::anofpdm::ForwardError;
use super::input::check_batch;
use super::predictor::{Counted, NoisePredictor};
use super::restoration::{
    Difference, Restoration, Restored, RestoredBatch, Steps, check, finished,
};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{predict_x0, q_sample};
use crate::nn::ClassLabel;

/// The method on its network.
pub(super) struct Andi<'a> {
    /// Trained on healthy slices, without labels.
    pub(super) predictor: &'a mut dyn NoisePredictor,
    /// Noise schedule.
    pub(super) schedule: &'a Schedule,
}

impl Restoration for Andi<'_> {
    /// S - 3 S / 8 evaluations a setting, indices 3 S / 8 to S - 1 (75 to 199 at S = 200), with the
    /// noise of each index. The deviation is (mu_q - mu_theta)^2, both means of a step down from the
    /// true and the predicted noise. Latent and target are the noised slice of the last index and the
    /// x0 predicted there. A setting's strength is not used.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError> {
        let schedule = self.schedule;
        check(schedule, x0, noise, settings, |scale| scale)?;
        let shape = check_batch(x0)?;
        let mut predictor = Counted::new(self.predictor);
        let mut steps = Steps::new(progress);
        let restored = tch::no_grad(|| {
            let each = settings.iter().map(|setting| {
                let indices = Baseline::andi_first(setting.noise_scale)..setting.noise_scale;
                let mut log_sum = x0.zeros_like().to_kind(Kind::Double);
                let (mut latent, mut target) = (x0.shallow_clone(), x0.shallow_clone());
                for index in indices.clone().map(|index| index as usize) {
                    let time = schedule.network_time(index);
                    let drawn = noise.draw(NoiseFamily::Gaussian, index, time, shape, x0.device());
                    let x = q_sample(schedule, index, x0, &drawn);
                    let epsilon = predictor.predict(&x, time, ClassLabel::Null);
                    log_sum += log_deviation(schedule, index, &drawn, &epsilon);
                    target = predict_x0(schedule, index, &x, &epsilon, true);
                    latent = x;
                    steps.tick()?;
                }
                let deviation = (log_sum / f64::from(indices.end - indices.start)).exp();
                finished(Restored {
                    setting: *setting,
                    latent,
                    target,
                    difference: Difference::Deviation(deviation.to_kind(Kind::Float)),
                })
            });
            each.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: predictor.evaluations(),
            classifier_evaluations: 0,
        })
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
