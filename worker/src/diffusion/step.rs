//! Single steps of the forward process: noising, predicted x0, the deterministic step up.
//!
//! Coefficients are formed in float64 and cast to float32 when used, as the public code does.

use tch::Tensor;

use super::schedule::Schedule;

/// Eq. 2: `sqrt(alpha_bar_i) x0 + sqrt(1 - alpha_bar_i) noise`. Shapes and kinds of `x0` and `noise`
/// agree.
pub fn q_sample(schedule: &Schedule, index: usize, x0: &Tensor, noise: &Tensor) -> Tensor {
    let alpha_bar = schedule.alpha_bar(index);
    x0 * single(alpha_bar.sqrt()) + noise * single((1.0 - alpha_bar).sqrt())
}

/// Eq. 7 and 10: the x0 that `epsilon` at index `index` implies, clamped to [-1, 1] on demand.
pub fn predict_x0(
    schedule: &Schedule,
    index: usize,
    x: &Tensor,
    epsilon: &Tensor,
    clamp: bool,
) -> Tensor {
    let inverse = 1.0 / schedule.alpha_bar(index);
    let x0 = x * single(inverse.sqrt()) - epsilon * single((inverse - 1.0).sqrt());
    if clamp { x0.clamp(-1.0, 1.0) } else { x0 }
}

/// Eq. 4: x at the level after `index`, from x at `index` and the noise predicted there.
///
/// The noise is derived again from the predicted x0, so that with clamping both stay consistent.
/// Beyond the last index alpha_bar is 0.
pub fn ddim_up(
    schedule: &Schedule,
    index: usize,
    x: &Tensor,
    epsilon: &Tensor,
    clamp: bool,
) -> Tensor {
    let x0 = predict_x0(schedule, index, x, epsilon, clamp);
    ddim_up_from(schedule, index, x, &x0)
}

/// [`ddim_up`] from an x0 that is predicted already.
pub fn ddim_up_from(schedule: &Schedule, index: usize, x: &Tensor, x0: &Tensor) -> Tensor {
    let epsilon = implied_noise(schedule, index, x, x0);
    at_level(schedule.alpha_bar(index + 1), x0, &epsilon)
}

/// The first step of an encode that starts at a clean slice: x at index 0, from `x0` and the noise
/// predicted in it. The predicted x0 is then x0 itself.
pub fn from_clean(schedule: &Schedule, x0: &Tensor, epsilon: &Tensor) -> Tensor {
    at_level(schedule.alpha_bar(0), x0, epsilon)
}

/// The noise that leads from `x0` to `x` at `index`: Eq. 7 solved for epsilon.
pub(crate) fn implied_noise(schedule: &Schedule, index: usize, x: &Tensor, x0: &Tensor) -> Tensor {
    let inverse = 1.0 / schedule.alpha_bar(index);
    (x * single(inverse.sqrt()) - x0) / single((inverse - 1.0).sqrt())
}

/// Eq. 2 at a level named by its alpha_bar, taken in float32 first as the public code's DDIM steps do.
pub(super) fn at_level(alpha_bar: f64, x0: &Tensor, epsilon: &Tensor) -> Tensor {
    let alpha_bar = single(alpha_bar);
    x0 * single(alpha_bar.sqrt()) + epsilon * single((1.0 - alpha_bar).sqrt())
}

/// The nearest float32, in the type libtorch takes scalars in.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::schedule::Respacing;
    use tch::{Device, Kind};

    fn schedule() -> Schedule {
        Schedule::linear(1000, &Respacing::Sections(vec![50])).unwrap()
    }

    fn ramp() -> Tensor {
        Tensor::linspace(-1.0, 1.0, 24, (Kind::Float, Device::Cpu)).view([1, 2, 3, 4])
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn predicted_x0_undoes_noising() {
        let (x0, noise) = (ramp(), ramp().sin() * 2.0);
        let x = q_sample(&schedule(), 20, &x0, &noise);
        let back = predict_x0(&schedule(), 20, &x, &noise, false);
        assert!(distance(&back, &x0) < 1e-5);
    }

    #[test]
    fn the_step_up_keeps_x0_and_noise() {
        let (x0, noise) = (ramp(), ramp().cos());
        let x = q_sample(&schedule(), 20, &x0, &noise);
        let up = ddim_up(&schedule(), 20, &x, &noise, false);
        assert!(distance(&up, &q_sample(&schedule(), 21, &x0, &noise)) < 1e-5);
    }

    #[test]
    fn beyond_the_last_index_only_noise_is_left() {
        let (x0, noise) = (ramp(), ramp().cos());
        let x = q_sample(&schedule(), 49, &x0, &noise);
        let up = ddim_up(&schedule(), 49, &x, &noise, false);
        assert!(distance(&up, &noise) < 1e-4);
    }

    #[test]
    fn clamping_bounds_x0() {
        let (x0, noise) = (ramp() * 3.0, ramp());
        let x = q_sample(&schedule(), 5, &x0, &noise);
        let clamped = predict_x0(&schedule(), 5, &x, &noise, true);
        assert!(clamped.abs().max().double_value(&[]) <= 1.0);
    }
}
