//! The step of classifier guidance.

use tch::Tensor;

use crate::diffusion::reverse::ddim_down;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::{implied_noise, predict_x0, single};
use crate::nn::ClassLabel;
use crate::predictor::LabelGuide;

/// A label to be led to, and how strongly.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassifierGuidance {
    pub(super) label: ClassLabel,
    /// Factor of the gradient.
    pub(super) scale: f64,
}

/// A DDIM step down from `index` (Dhariwal & Nichol, 2021, Algorithm 2): the noise implied by the
/// clamped x0, less `sqrt(1 - alpha_bar) s` times the gradient of log p(label | x). The x0 that follows
/// from it is not clamped again.
pub(super) fn guided_down(
    schedule: &Schedule,
    index: usize,
    x: &Tensor,
    epsilon: &Tensor,
    guide: &mut dyn LabelGuide,
    guidance: ClassifierGuidance,
) -> Tensor {
    let time = schedule.network_time(index);
    let clamped = predict_x0(schedule, index, x, epsilon, true);
    let gradient = guide.gradient(x, time, guidance.label) * guidance.scale;
    let weight = single((1.0 - schedule.alpha_bar(index)).sqrt());
    let epsilon = implied_noise(schedule, index, x, &clamped) - gradient * weight;
    let x0 = predict_x0(schedule, index, x, &epsilon, false);
    ddim_down(schedule, index, x, &x0)
}
