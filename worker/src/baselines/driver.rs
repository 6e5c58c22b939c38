//! What all baselines share: up to a latent, back to a restored slice, for a whole grid of settings in one call.
//!
//! What a setting yields does not depend on which others are asked for beside it.

use std::ops::ControlFlow;

use anofpdm_common::baseline::Setting;
use anofpdm_common::role::NoiseFamily;
use tch::Tensor;

use super::restored::{Difference, Restored};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;
use crate::method_input::{check_batch, check_noise};
use crate::nn::ClassLabel;
use crate::predictor::{Counted, NoisePredictor};

pub(super) trait RestorationMethod {
    /// How many indices of noise a noise scale takes.
    fn noise_needed(&self, noise_scale: usize) -> usize;

    /// The noised slices at which the way back of each setting begins, f32 `[N, C, H, W]`, in the order of `settings`.
    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError>;

    /// The way back at one setting: the restored slices, f32 `[N, C, H, W]`, and what the map is made of.
    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        latent: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError>;

    fn classifier_evaluations(&self) -> u64 {
        0
    }
}

/// One call: the batch, its noise and the network, counted.
pub(super) struct Walk<'a> {
    pub(super) schedule: &'a Schedule,
    /// f32 `[N, C, H, W]`.
    pub(super) x0: &'a Tensor,
    pub(super) predictor: Counted<'a, dyn NoisePredictor + 'a>,
    noise: &'a NoiseSource,
    shape: [i64; 4],
    steps: usize,
    progress: &'a mut dyn FnMut() -> ControlFlow<()>,
}

impl Walk<'_> {
    /// epsilon(x, t, label) at `index`.
    pub(super) fn predict(&mut self, index: usize, x: &Tensor, label: ClassLabel) -> Tensor {
        let time = self.schedule.network_time(index);
        self.predictor.predict(x, time, label)
    }

    /// Noise number `number` of a family, for the level of `index`.
    pub(super) fn noise(&self, family: NoiseFamily, number: usize, index: usize) -> Tensor {
        let depth = self.schedule.network_time(index);
        let device = self.x0.device();
        self.noise.draw(family, number, depth, self.shape, device)
    }

    /// Gaussian noise number `number`, which is the same at every level.
    pub(super) fn gaussian(&self, number: usize) -> Tensor {
        self.noise.at(number, &self.shape, self.x0.device())
    }

    pub(super) fn step_done(&mut self) -> Result<(), MethodError> {
        self.steps += 1;
        match (self.progress)() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(MethodError::Stopped(self.steps)),
        }
    }
}

#[derive(Debug)]
pub struct RestoredBatch {
    /// One entry a setting, in the order asked.
    pub restored: Vec<Restored>,
    /// Slices through the network that predicts noise.
    pub evaluations: u64,
    /// Slices through the classifier, each with its gradient.
    pub classifier_evaluations: u64,
}

pub struct Restoration<'a> {
    pub(super) method: Box<dyn RestorationMethod + 'a>,
    pub(super) predictor: &'a mut dyn NoisePredictor,
    pub(super) schedule: &'a Schedule,
}

impl std::fmt::Debug for Restoration<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restoration").finish_non_exhaustive()
    }
}

impl Restoration<'_> {
    /// Restores the batch `x0` (f32 `[N, C, H, W]` in [-1, 1]) at each of `settings`.
    ///
    /// `progress` is called after every step and may stop the work.
    ///
    /// # Errors
    /// When settings and inputs do not fit, a number is not finite, or `progress` stops it.
    pub fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, MethodError> {
        let (method, schedule) = (&mut self.method, self.schedule);
        check(schedule, x0, noise, settings, |scale| {
            method.noise_needed(scale)
        })?;
        let before = method.classifier_evaluations();
        let predictor: &mut dyn NoisePredictor = self.predictor;
        let mut walk = Walk {
            schedule,
            x0,
            predictor: Counted::new(predictor),
            noise,
            shape: check_batch(x0)?,
            steps: 0,
            progress,
        };
        let restored = tch::no_grad(|| {
            let latents = method.latents(&mut walk, settings)?;
            let each = settings.iter().zip(latents).map(|(setting, latent)| {
                let (target, difference) = method.restore(&mut walk, setting, &latent)?;
                let restored = Restored {
                    setting: *setting,
                    latent,
                    target,
                    difference,
                };
                Ok(restored.finite()?)
            });
            each.collect::<Result<Vec<_>, MethodError>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: walk.predictor.evaluations(),
            classifier_evaluations: method.classifier_evaluations() - before,
        })
    }
}

/// Whether a grid can be computed on a batch. `noise_needed` says how many indices of noise a noise
/// scale takes.
fn check(
    schedule: &Schedule,
    x0: &Tensor,
    noise: &NoiseSource,
    settings: &[Setting],
    noise_needed: impl Fn(usize) -> usize,
) -> Result<(), MethodError> {
    let fail = |message: String| Err(MethodError::Invalid(message));
    let shape = check_batch(x0)?;
    if settings.is_empty() {
        return fail("at least one setting is needed".to_owned());
    }
    let steps = schedule.len();
    for setting in settings {
        let scale = scale(setting);
        if scale == 0 || scale > steps {
            return fail(format!(
                "noise scale {scale}: the schedule has 1 to {steps} steps"
            ));
        }
        if !setting.strength.is_finite() || setting.strength < 0.0 {
            return fail(format!(
                "strength {}: it must be a number >= 0",
                setting.strength
            ));
        }
    }
    let longest = settings.iter().map(scale).max().unwrap_or(0);
    let walk = format!("a noise scale of {longest}");
    check_noise(noise, shape, noise_needed(longest), &walk)
}

/// S as an index.
pub(super) const fn scale(setting: &Setting) -> usize {
    setting.noise_scale as usize
}
