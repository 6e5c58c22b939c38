//! Single steps down the noise levels: DDIM and ancestral.
//!
//! Every step starts from a predicted x0 (see [`predict_x0`](super::step::predict_x0)), clamped or
//! not. Coefficients are formed in float64 and cast to float32 when used.

use tch::{Kind, Tensor};

use super::schedule::Schedule;
use super::step::{at_level, implied_noise, single};

/// alpha_bar of the level below `index`; 1 below the first, where no noise is left.
fn alpha_bar_below(schedule: &Schedule, index: usize) -> f64 {
    index
        .checked_sub(1)
        .map_or(1.0, |below| schedule.alpha_bar(below))
}

/// DDIM (Song et al., 2021, Eq. 12 with eta = 0): x at the level below `index`, from x at `index` and
/// the x0 predicted there. From index 0 it is that x0.
pub fn ddim_down(schedule: &Schedule, index: usize, x: &Tensor, x0: &Tensor) -> Tensor {
    let epsilon = implied_noise(schedule, index, x, x0);
    at_level(alpha_bar_below(schedule, index), x0, &epsilon)
}

#[derive(Debug, Clone, Copy)]
pub enum Variance<'a> {
    /// That of q(x_{t-1} | x_t, x_0) (Eq. 3): "small".
    Posterior,
    /// beta, and at index 0 the posterior variance of index 1: "fixed large", as the public code has
    /// it.
    FixedLarge,
    /// Between the two: a network's variance values v, f32 of the shape of x. The logarithm is
    /// `f log(beta) + (1 - f) log(posterior)` with `f = (v + 1) / 2`.
    Learned(&'a Tensor),
}

/// The distribution of x at the level below.
#[derive(Debug)]
pub struct ReverseStep {
    /// f32 of the shape of x.
    pub mean: Tensor,
    /// Natural logarithm of the variance: f32, of the shape of x or one number.
    pub log_variance: Tensor,
}

impl ReverseStep {
    /// p(x_{t-1} | x_t) at `index`, from x there and the x0 predicted there (Eq. 3).
    pub fn new(
        schedule: &Schedule,
        index: usize,
        x: &Tensor,
        x0: &Tensor,
        variance: Variance<'_>,
    ) -> Self {
        let beta = schedule.betas()[index];
        let left = 1.0 - schedule.alpha_bar(index);
        let below = alpha_bar_below(schedule, index);
        let mean = x0 * single(beta * below.sqrt() / left)
            + x * single((1.0 - below) * (1.0 - beta).sqrt() / left);
        // Filled in where it is needed: copied there, it would be waited for.
        let constant = |value: f64| Tensor::full([], single(value), (Kind::Float, x.device()));
        let log_variance = match variance {
            Variance::Posterior => constant(log_posterior(schedule, index)),
            Variance::FixedLarge if index == 0 => constant(log_posterior(schedule, 0)),
            Variance::FixedLarge => constant(beta.ln()),
            Variance::Learned(values) => {
                let share = (values + 1.0) / 2.0;
                let (large, small) = (beta.ln(), log_posterior(schedule, index));
                &share * single(large) + (1.0 - &share) * single(small)
            }
        };
        Self { mean, log_variance }
    }

    /// A draw with standard noise of the shape of x; at index 0, where the mean is the result,
    /// `noise` is not called.
    pub fn draw(self, index: usize, noise: impl FnOnce() -> Tensor) -> Tensor {
        if index == 0 {
            return self.mean;
        }
        self.mean + (self.log_variance * 0.5).exp() * noise()
    }
}

/// Logarithm of the posterior variance. At index 0 it would be that of 0, and the next one stands in.
fn log_posterior(schedule: &Schedule, index: usize) -> f64 {
    let variances = schedule.posterior_variances();
    let stand_in = variances.get(index.max(1)).or(schedule.betas().first());
    stand_in.copied().unwrap_or(1.0).ln()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::diffusion::schedule::Respacing;
    use crate::diffusion::step::{ddim_up, predict_x0, q_sample};

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
    fn the_step_down_undoes_the_step_up() {
        let schedule = schedule();
        let (x0, noise) = (ramp(), ramp().cos());
        let x = q_sample(&schedule, 20, &x0, &noise);
        let up = ddim_up(&schedule, 20, &x, &noise, false);
        let x0_there = predict_x0(&schedule, 21, &up, &noise, false);
        assert!(distance(&ddim_down(&schedule, 21, &up, &x0_there), &x) < 1e-5);
        assert_eq!(ddim_down(&schedule, 0, &x, &x0), x0);
    }

    #[test]
    fn variances_lie_between_small_and_large() {
        let schedule = schedule();
        let (x0, x) = (ramp(), ramp().sin());
        let log = |index, variance: Variance<'_>| {
            let below = ReverseStep::new(&schedule, index, &x, &x0, variance);
            below.log_variance.max().double_value(&[])
        };
        let small = log(9, Variance::Posterior);
        let large = log(9, Variance::FixedLarge);
        assert!((small.exp() - schedule.posterior_variances()[9]).abs() < 1e-8);
        assert!((large.exp() - schedule.betas()[9]).abs() < 1e-8);
        assert!(small < large);
        let ones = x.ones_like();
        assert!((log(9, Variance::Learned(&ones)) - large).abs() < 1e-6);
        assert!((log(9, Variance::Learned(&-&ones)) - small).abs() < 1e-6);
        // The variance at index 0 would be 0 and is never used; that of index 1 stands in.
        let second = log(1, Variance::Posterior);
        assert_eq!(log(0, Variance::Posterior), second);
        assert_eq!(log(0, Variance::FixedLarge), second);
    }

    #[test]
    fn the_last_step_draws_nothing() {
        let schedule = schedule();
        let below = ReverseStep::new(&schedule, 0, &ramp(), &ramp(), Variance::FixedLarge);
        let mean = below.mean.shallow_clone();
        assert_eq!(below.draw(0, || unreachable!()), mean);
    }
}
