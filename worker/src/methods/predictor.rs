//! What a method needs of a network.

use tch::{Kind, Tensor};

use crate::nn::{ClassLabel, Labels, Mode, UNet};

/// Predicts the noise in a batch. Implementations differ in speed, not in meaning.
pub trait NoisePredictor {
    /// epsilon(x, t, label): f32 of the shape of `x`, `[N, C, H, W]`, at one network time for the
    /// whole batch.
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor;

    /// (epsilon(x, t, healthy), epsilon(x, t, null)) on the same input.
    fn predict_pair(&mut self, x: &Tensor, network_time: i64) -> (Tensor, Tensor) {
        (
            self.predict(x, network_time, ClassLabel::Healthy),
            self.predict(x, network_time, ClassLabel::Null),
        )
    }
}

/// The plain network: one call a label, float32.
impl NoisePredictor for UNet {
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        let batch = x.size().first().copied().unwrap_or(0);
        let times = Tensor::full([batch], network_time, (Kind::Int64, x.device()));
        let output = self.forward(x, &times, &Labels::All(label), Mode::Eval);
        // Values of a learned variance follow the noise.
        output.narrow(1, 0, x.size().get(1).copied().unwrap_or(0))
    }
}

/// Counts the evaluations of another predictor: one slice through the network once.
#[derive(Debug)]
pub(super) struct Counted<'a, P: ?Sized> {
    inner: &'a mut P,
    evaluations: u64,
}

impl<'a, P: NoisePredictor + ?Sized> Counted<'a, P> {
    pub(super) fn new(inner: &'a mut P) -> Self {
        Self {
            inner,
            evaluations: 0,
        }
    }

    pub(super) fn evaluations(&self) -> u64 {
        self.evaluations
    }

    fn count(&mut self, x: &Tensor, labels: u64) {
        self.evaluations += labels * x.size().first().map_or(0, |slices| slices.unsigned_abs());
    }
}

impl<P: NoisePredictor + ?Sized> NoisePredictor for Counted<'_, P> {
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        self.count(x, 1);
        self.inner.predict(x, network_time, label)
    }

    fn predict_pair(&mut self, x: &Tensor, network_time: i64) -> (Tensor, Tensor) {
        self.count(x, 2);
        self.inner.predict_pair(x, network_time)
    }
}
