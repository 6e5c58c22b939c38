//! The forward process of training: every sample at a time of its own.

use tch::{Device, Kind, Tensor};

use crate::diffusion::schedule::Schedule;

/// The forward process with a time for each sample (Eq. 2), on the full schedule.
#[derive(Debug)]
pub(super) struct Noising {
    /// sqrt(alpha_bar) of every time, f32 `[T]`.
    signal: Tensor,
    /// sqrt(1 - alpha_bar) of every time, f32 `[T]`.
    spread: Tensor,
}

impl Noising {
    pub(super) fn new(schedule: &Schedule, device: Device) -> Self {
        let table = |value: fn(&f64) -> f64| {
            let values: Vec<f64> = schedule.alpha_bars().iter().map(value).collect();
            Tensor::from_slice(&values)
                .to_kind(Kind::Float)
                .to_device(device)
        };
        Self {
            signal: table(|alpha_bar| alpha_bar.sqrt()),
            spread: table(|alpha_bar| (1.0 - alpha_bar).sqrt()),
        }
    }

    pub(super) fn times(&self) -> usize {
        self.signal.numel()
    }

    /// `x0` and `noise` are `[N, C, H, W]`, `times` i64 `[N]`.
    pub(super) fn noised(&self, x0: &Tensor, noise: &Tensor, times: &Tensor) -> Tensor {
        let of = |table: &Tensor| table.index_select(0, times).view([-1, 1, 1, 1]);
        x0 * of(&self.signal) + noise * of(&self.spread)
    }
}

/// One noised batch on the device; floats are of the network's kind.
#[derive(Debug)]
pub(super) struct Noised {
    /// `[N, C, H, W]`.
    pub(super) x0: Tensor,
    /// `[N, C, H, W]`.
    pub(super) noise: Tensor,
    /// Eq. 2 of both at `times`.
    pub(super) x_t: Tensor,
    /// i64 `[N]`.
    pub(super) times: Tensor,
    /// i64 `[N]`, -1 for null.
    pub(super) labels: Tensor,
}

#[cfg(test)]
mod tests {
    use anofpdm_common::spec::DIFFUSION_STEPS;

    use super::*;
    use crate::diffusion::schedule::Respacing;
    use crate::diffusion::step::q_sample;

    #[test]
    fn noising_is_the_forward_step_at_each_samples_time() {
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::None).unwrap();
        let noising = Noising::new(&schedule, Device::Cpu);
        let ramp = Tensor::arange(3 * 2 * 4 * 4, (Kind::Float, Device::Cpu)).view([3, 2, 4, 4]);
        let (x0, noise) = ((&ramp * 0.1).cos(), (&ramp * 0.3).sin());
        let x_t = noising.noised(&x0, &noise, &Tensor::from_slice(&[0_i64, 413, 999]));
        for (row, index) in [(0, 0), (1, 413), (2, 999)] {
            let expected = q_sample(&schedule, index, &x0.get(row), &noise.get(row));
            let difference = (x_t.get(row) - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{index}: {difference}");
        }
    }
}
