//! Arithmetic in place of the classifier.

use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_worker::nn::ClassLabel;
use anofpdm_worker::predictor::LabelGuide;
use tch::Tensor;

use super::gain;
use super::predictor::BRIGHT;

/// A guide that costs nothing: bright pixels make a slice look less healthy.
#[derive(Debug)]
pub(super) struct FakeGuide {
    /// How much, from the weights' digest.
    gain: f64,
    delay: Duration,
}

impl FakeGuide {
    pub(super) fn new(weights: &Digest, delay: Duration) -> Self {
        Self {
            gain: gain(weights) * 1e-3,
            delay,
        }
    }
}

impl LabelGuide for FakeGuide {
    fn gradient(&mut self, x: &Tensor, _network_time: i64, label: ClassLabel) -> Tensor {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        let towards = if label == ClassLabel::Healthy {
            -self.gain
        } else {
            self.gain
        };
        // Bounded, so that no strength makes a slice grow without end.
        (x - BRIGHT).relu().clamp_max(1.0) * towards
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_slice_looks_healthier_with_its_bright_pixels_darker() {
        let x = Tensor::linspace(-1.0, 1.0, 16, (Kind::Float, Device::Cpu)).view([1, 1, 4, 4]);
        let mut guide = FakeGuide::new(&Digest::of(b"a"), Duration::ZERO);
        let healthy = guide.gradient(&x, 0, ClassLabel::Healthy);
        assert_eq!(healthy.size(), x.size());
        assert!(healthy.max().double_value(&[]) == 0.0);
        assert!(healthy.min().double_value(&[]) < 0.0);
        let unhealthy = guide.gradient(&x, 0, ClassLabel::Unhealthy);
        assert_eq!(unhealthy, -healthy);
    }
}
