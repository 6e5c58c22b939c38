//! Arithmetic in place of the U-Net.

use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_worker::nn::ClassLabel;
use anofpdm_worker::predictor::NoisePredictor;
use tch::Tensor;

use super::gain;

/// Intensity above which the healthy prediction doubts a pixel, as a network trained on healthy slices would.
pub(super) const BRIGHT: f64 = 0.2;

/// Noise is rarely larger; bounded predictions keep every later number finite.
const LARGEST: f64 = 4.0;

/// A noise predictor that costs nothing: a few element-wise operations of x, t, label and weights.
#[derive(Debug)]
pub(super) struct FakePredictor {
    /// How strongly bright pixels are taken for noise, from the weights' digest.
    gain: f64,
    delay: Duration,
}

impl FakePredictor {
    pub(super) fn new(weights: &Digest, delay: Duration) -> Self {
        Self {
            gain: gain(weights),
            delay,
        }
    }

    /// Doubt of bright pixels under a label, in parts of the gain.
    const fn doubt(label: ClassLabel) -> f64 {
        match label {
            ClassLabel::Healthy => 1.0,
            ClassLabel::Unhealthy => -0.5,
            ClassLabel::Null => 0.25,
        }
    }

    fn noise(&self, x: &Tensor, network_time: i64, doubt: f64) -> Tensor {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        #[allow(clippy::cast_precision_loss)] // times are below 2^52
        let time = network_time as f64 / f64::from(DIFFUSION_STEPS);
        let doubt = self.gain * doubt;
        let noise = x * (0.1 + 0.8 * time) + (x - BRIGHT).relu() * doubt;
        noise.clamp(-LARGEST, LARGEST)
    }
}

impl NoisePredictor for FakePredictor {
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        self.noise(x, network_time, Self::doubt(label))
    }

    fn predict_between(&mut self, x: &Tensor, network_time: i64, unhealthy: f64) -> Tensor {
        let healthy = Self::doubt(ClassLabel::Healthy);
        let doubt = healthy + unhealthy * (Self::doubt(ClassLabel::Unhealthy) - healthy);
        self.noise(x, network_time, doubt)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn depends_on_input_time_label_and_weights_and_on_nothing_else() {
        let x = Tensor::linspace(-1.0, 1.0, 2 * 16, (Kind::Float, Device::Cpu)).view([2, 1, 4, 4]);
        let predict = |weights: &[u8], time, label| {
            FakePredictor::new(&Digest::of(weights), Duration::ZERO).predict(&x, time, label)
        };
        let plain = predict(b"a", 10, ClassLabel::Healthy);
        assert_eq!(plain.size(), x.size());
        assert_eq!(plain, predict(b"a", 10, ClassLabel::Healthy));
        for other in [
            predict(b"b", 10, ClassLabel::Healthy),
            predict(b"a", 11, ClassLabel::Healthy),
            predict(b"a", 10, ClassLabel::Null),
        ] {
            assert_ne!(plain, other);
        }
        let huge = FakePredictor::new(&Digest::of(b"a"), Duration::ZERO).predict(
            &(&x * 1e30),
            999,
            ClassLabel::Healthy,
        );
        assert!(huge.abs().max().double_value(&[]) <= LARGEST);
    }
}
