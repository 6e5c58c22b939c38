//! The loss of a network that also learns the variance of the reverse step.
//!
//! The variance values v in [-1, 1] of a pixel choose between the two extremes of a step:
//! `log variance = f log(beta) + (1 - f) log(posterior variance)`, `f = (v + 1) / 2`. They are trained
//! on the variational bound, whose gradient is kept from the noise (Nichol & Dhariwal 2021, Eq. 15,
//! 16; conventions of the public guided-diffusion family, where one term a batch is drawn and counted
//! in bits a value).

use std::f64::consts::{FRAC_2_PI, LN_2};

use anofpdm_common::spec::DIFFUSION_STEPS;
use tch::{Device, Kind, Reduction, Tensor};

use super::noising::Noised;
use crate::diffusion::schedule::Schedule;

/// Weight of the bound beside the squared error: 0.001 of the sum over the steps, of which each
/// draw of t is one of `DIFFUSION_STEPS`.
const WEIGHT: f64 = 0.001 * DIFFUSION_STEPS as f64;

/// Half the distance of two grey levels of 8-bit images scaled to [-1, 1]: the last term's bins.
const HALF_BIN: f64 = 1.0 / 255.0;
/// Beyond this a pixel lies in the first or the last bin, which have no outer edge.
const OUTERMOST: f64 = 0.999;
/// Smallest probability whose logarithm is taken.
const SMALLEST: f64 = 1e-12;

/// Coefficients of every step, f32 `[T]` on the device.
#[derive(Debug)]
pub(super) struct VarianceBound {
    log_beta: Tensor,
    /// The first value is replaced by the second: at index 0 the posterior has no variance.
    log_posterior_variance: Tensor,
    /// Posterior mean of q(x_{t-1} | x_t, x_0): factors of x_0 and x_t.
    mean_x0: Tensor,
    mean_x_t: Tensor,
    /// Predicted x_0: factors of x_t and epsilon.
    x0_x_t: Tensor,
    x0_epsilon: Tensor,
}

impl VarianceBound {
    pub(super) fn new(schedule: &Schedule, device: Device) -> Self {
        let table = |values: Vec<f64>| {
            Tensor::from_slice(&values)
                .to_kind(Kind::Float)
                .to_device(device)
        };
        let steps = || {
            let previous = std::iter::once(&1.0).chain(schedule.alpha_bars());
            schedule
                .betas()
                .iter()
                .zip(schedule.alpha_bars().iter().zip(previous))
                .map(|(beta, (alpha_bar, previous))| (*beta, *alpha_bar, *previous))
        };
        let mut posterior = schedule.posterior_variances().to_vec();
        if let [first, second, ..] = posterior.as_mut_slice() {
            *first = *second;
        }
        Self {
            log_beta: table(schedule.betas().iter().map(|beta| beta.ln()).collect()),
            log_posterior_variance: table(posterior.iter().map(|value| value.ln()).collect()),
            mean_x0: table(
                steps()
                    .map(|(beta, bar, previous)| beta * previous.sqrt() / (1.0 - bar))
                    .collect(),
            ),
            mean_x_t: table(
                steps()
                    .map(|(beta, bar, previous)| {
                        (1.0 - previous) * (1.0 - beta).sqrt() / (1.0 - bar)
                    })
                    .collect(),
            ),
            x0_x_t: table(steps().map(|(_, bar, _)| (1.0 / bar).sqrt()).collect()),
            x0_epsilon: table(
                steps()
                    .map(|(_, bar, _)| (1.0 / bar - 1.0).sqrt())
                    .collect(),
            ),
        }
    }

    /// Squared error of the noise plus the weighted bound, a scalar. `output` is `[N, 2C, H, W]`:
    /// noise, then variance values.
    pub(super) fn hybrid_loss(&self, output: &Tensor, batch: &Noised) -> Tensor {
        let halves = output.chunk(2, 1);
        let (epsilon, values) = (&halves[0], &halves[1]);
        let bound = self.bits(&epsilon.detach(), values, batch);
        epsilon.mse_loss(&batch.noise, Reduction::Mean) + bound.mean(Kind::Float) * WEIGHT
    }

    /// The bound's term at each sample's time in bits a value, `[N]`.
    fn bits(&self, epsilon: &Tensor, values: &Tensor, batch: &Noised) -> Tensor {
        let of = |table: &Tensor| table.index_select(0, &batch.times).view([-1, 1, 1, 1]);
        let (x0, x_t) = (&batch.x0, &batch.x_t);
        let mean = |x0: &Tensor| of(&self.mean_x0) * x0 + of(&self.mean_x_t) * x_t;
        let predicted_x0 = of(&self.x0_x_t) * x_t - of(&self.x0_epsilon) * epsilon;
        let predicted_mean = mean(&predicted_x0);
        let true_log_variance = of(&self.log_posterior_variance);
        let share = (values + 1.0) * 0.5;
        let log_variance =
            &share * of(&self.log_beta) + (share.ones_like() - &share) * &true_log_variance;

        let divergence = normal_divergence(
            &mean(x0),
            &true_log_variance,
            &predicted_mean,
            &log_variance,
        );
        let last = -grey_level_log_likelihood(x0, &predicted_mean, &(log_variance * 0.5));
        let bits = |nats: Tensor| nats.mean_dim(&[1_i64, 2, 3][..], false, None) / LN_2;
        bits(last).where_self(&batch.times.eq(0), &bits(divergence))
    }
}

/// Divergence of two normal distributions, in nats a value.
fn normal_divergence(
    mean: &Tensor,
    log_variance: &Tensor,
    other_mean: &Tensor,
    other_log_variance: &Tensor,
) -> Tensor {
    let distance = (mean - other_mean).square() * (-other_log_variance).exp();
    (other_log_variance - log_variance + (log_variance - other_log_variance).exp() + distance - 1.0)
        * 0.5
}

/// log of the probability that a normal distribution gives the grey level of each value of `x`
/// (Ho et al., "Denoising Diffusion Probabilistic Models", 2020, Eq. 13).
fn grey_level_log_likelihood(x: &Tensor, mean: &Tensor, log_deviation: &Tensor) -> Tensor {
    let centred = x - mean;
    let sharpness = (-log_deviation).exp();
    let above = normal_cdf(&(&sharpness * (&centred + HALF_BIN)));
    let below = normal_cdf(&(&sharpness * (&centred - HALF_BIN)));
    let log = |probability: Tensor| probability.clamp_min(SMALLEST).log();
    let first = log(above.shallow_clone());
    let last = log(below.ones_like() - &below);
    let inner = log(above - below);
    first.where_self(
        &x.lt(-OUTERMOST),
        &last.where_self(&x.gt(OUTERMOST), &inner),
    )
}

/// The standard normal distribution function, in the public family's approximation by a hyperbolic
/// tangent.
fn normal_cdf(x: &Tensor) -> Tensor {
    let cubic = x + x.pow_tensor_scalar(3) * 0.044_715;
    ((cubic * FRAC_2_PI.sqrt()).tanh() + 1.0) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::schedule::Respacing;

    fn bound() -> VarianceBound {
        let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
        VarianceBound::new(&schedule, Device::Cpu)
    }

    fn wave(rate: f64, amplitude: f64) -> Tensor {
        let ramp = Tensor::arange(4 * 2 * 3 * 3, (Kind::Float, Device::Cpu));
        ((ramp * rate).sin() * amplitude).view([4, 2, 3, 3])
    }

    /// Four samples, at the times whose terms differ in kind.
    fn batch() -> Noised {
        let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
        let times = [0_i64, 1, 500, 999];
        let (x0, noise) = (wave(0.7, 1.1).clamp(-1.0, 1.0), wave(0.3, 1.5));
        let bars: Vec<f32> = times
            .iter()
            .map(|t| schedule.alpha_bar(usize::try_from(*t).unwrap()) as f32)
            .collect();
        let bars = Tensor::from_slice(&bars).view([4, 1, 1, 1]);
        let x_t = &x0 * bars.sqrt() + &noise * (-&bars + 1.0).sqrt();
        Noised {
            x0,
            noise,
            x_t,
            times: Tensor::from_slice(&times),
            labels: Tensor::from_slice(&[0_i64; 4]),
        }
    }

    #[test]
    fn bits_are_those_of_the_public_implementation() {
        let bits = bound().bits(&wave(0.31, 1.4), &wave(0.11, 0.9), &batch());
        let found = Vec::<f64>::try_from(bits.to_kind(Kind::Double)).unwrap();
        // From the public code on the same tensors.
        let expected = [
            1.402_087_211_608_886_7,
            0.120_914_168_655_872_34,
            0.001_921_109_505_929_052_8,
            0.005_442_515_946_924_686,
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn the_bound_trains_the_variance_and_leaves_the_noise_alone() {
        let batch = batch();
        let output = Tensor::cat(&[wave(0.31, 1.4), wave(0.11, 0.9)], 1).set_requires_grad(true);
        let loss = bound().hybrid_loss(&output, &batch);
        let gradient = Tensor::run_backward(&[loss], &[&output], false, false).remove(0);
        let halves = gradient.chunk(2, 1);
        let squared = (wave(0.31, 1.4) - &batch.noise) * (2.0 / 72.0);
        assert!((&halves[0] - squared).abs().max().double_value(&[]) < 1e-7);
        assert!(halves[1].abs().max().double_value(&[]) > 1e-6);
    }

    #[test]
    fn the_right_variance_and_noise_cost_nothing() {
        let batch = batch();
        // v = -1 is the posterior's own variance.
        let values = Tensor::full([4, 2, 3, 3], -1.0, (Kind::Float, Device::Cpu));
        let bits = bound().bits(&batch.noise, &values, &batch);
        for row in 1..4 {
            assert!(bits.double_value(&[row]).abs() < 1e-4, "{bits}");
        }
    }
}
