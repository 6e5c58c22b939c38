//! Methods that restore a slice to a healthy version and look at the difference.
//!
//! One call serves a whole grid of settings and shares what they can share. What a setting yields does
//! not depend on which others are asked for beside it.

use std::ops::ControlFlow;

use anofpdm_common::baseline::Setting;
use tch::{Device, Kind, Tensor};

use super::accumulator::NotFinite;
use super::anofpdm::ForwardError;
use super::input::{check_batch, check_noise, not_finite};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;

/// What a method makes of a batch at one setting.
#[derive(Debug)]
pub struct Restored {
    /// Noise scale S and strength.
    pub setting: Setting,
    /// Noised slices, where the way back begins: f32 `[N, C, H, W]`.
    pub latent: Tensor,
    /// Restored slices, f32 `[N, C, H, W]`.
    pub target: Tensor,
    /// What the anomaly map is made of.
    pub difference: Difference,
}

/// What the anomaly map is made of, channel by channel.
#[derive(Debug)]
pub enum Difference {
    /// (x0 - target)^2; the map is its mean over the scored modalities.
    Squared,
    /// A signed difference, f32 `[N, C, H, W]`; the map is its sum over the scored modalities. It can
    /// be negative.
    Signed(Tensor),
    /// A deviation that is never negative, f32 `[N, C, H, W]`; the map is its largest value over the
    /// scored modalities.
    Deviation(Tensor),
}

impl Restored {
    /// The same in host memory.
    #[must_use]
    pub fn on_host(self) -> Self {
        let host = |tensor: Tensor| tensor.to_device(Device::Cpu);
        Self {
            setting: self.setting,
            latent: host(self.latent),
            target: host(self.target),
            difference: match self.difference {
                Difference::Squared => Difference::Squared,
                Difference::Signed(difference) => Difference::Signed(host(difference)),
                Difference::Deviation(deviation) => Difference::Deviation(host(deviation)),
            },
        }
    }

    /// The anomaly map over `modalities` (channels of `x0`), before the median filter: f32
    /// `[N, 1, H, W]`.
    pub fn map(&self, x0: &Tensor, modalities: &[i64]) -> Tensor {
        let channels = Tensor::from_slice(modalities).to_device(x0.device());
        let chosen = |tensor: &Tensor| tensor.index_select(1, &channels);
        match &self.difference {
            Difference::Squared => {
                (chosen(x0) - chosen(&self.target))
                    .square()
                    .mean_dim(1_i64, true, Kind::Float)
            }
            Difference::Signed(values) => chosen(values).sum_dim_intlist(1_i64, true, Kind::Float),
            Difference::Deviation(values) => chosen(values).amax(1_i64, true),
        }
    }
}

/// What a method makes of a batch.
#[derive(Debug)]
pub struct RestoredBatch {
    /// One entry a setting, in the order asked.
    pub restored: Vec<Restored>,
    /// Slices through the network that predicts noise.
    pub evaluations: u64,
    /// Slices through the classifier, each with its gradient.
    pub classifier_evaluations: u64,
}

/// A method that restores slices.
pub trait Restoration {
    /// Restores the batch `x0` (f32 `[N, C, H, W]` in [-1, 1]) at each of `settings`.
    ///
    /// `progress` is called after every step and may stop the work.
    ///
    /// # Errors
    /// When settings and inputs do not fit, a number is not finite, or `progress` stops it.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError>;
}

/// Counts the steps of a call and stops it where the caller asks for that.
pub(super) struct Steps<'a> {
    done: usize,
    progress: &'a mut dyn FnMut() -> ControlFlow<()>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(progress: &'a mut dyn FnMut() -> ControlFlow<()>) -> Self {
        Self { done: 0, progress }
    }

    /// One step is done.
    pub(super) fn tick(&mut self) -> Result<(), ForwardError> {
        self.done += 1;
        match (self.progress)() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ForwardError::Stopped(self.done)),
        }
    }
}

/// Whether a grid can be computed on a batch. `noise_needed` says how many indices of noise a noise
/// scale takes.
pub(super) fn check(
    schedule: &Schedule,
    x0: &Tensor,
    noise: &NoiseSource,
    settings: &[Setting],
    noise_needed: impl Fn(usize) -> usize,
) -> Result<(), ForwardError> {
    let fail = |message: String| Err(ForwardError::Invalid(message));
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

/// Refuses a result with NaN or infinity in it.
pub(super) fn finished(restored: Restored) -> Result<Restored, ForwardError> {
    let mut parts = vec![
        ("the latent", &restored.latent),
        ("the restored image", &restored.target),
    ];
    if let Difference::Signed(values) | Difference::Deviation(values) = &restored.difference {
        parts.push(("the map", values));
    }
    for (what, tensor) in parts {
        if let Some(slice) = not_finite(tensor) {
            return Err(NotFinite {
                what: what.to_owned(),
                slice,
                step: i64::from(restored.setting.noise_scale),
                guidance: restored.setting.strength,
            }
            .into());
        }
    }
    Ok(restored)
}

#[cfg(test)]
mod tests;
