//! What a method needs of its networks.

use tch::{Kind, Tensor};

use crate::nn::{ClassLabel, Classifier, Labels, Mode, UNet};

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

    /// The pair of [`predict_pair`](Self::predict_pair) of each of several inputs, each at its own network time.
    fn predict_pairs(&mut self, inputs: &[(Tensor, i64)]) -> Vec<(Tensor, Tensor)> {
        inputs
            .iter()
            .map(|(x, time)| self.predict_pair(x, *time))
            .collect()
    }

    /// Slices that are best predicted together: so many may be handed over at once, of whatever times.
    fn slices_together(&self) -> usize {
        1
    }

    /// epsilon(x, t, label) and, from a network with learned variance, its variance values v, of the
    /// same shape. One evaluation.
    fn predict_with_variance(
        &mut self,
        x: &Tensor,
        network_time: i64,
        label: ClassLabel,
    ) -> (Tensor, Option<Tensor>) {
        (self.predict(x, network_time, label), None)
    }

    /// epsilon(x, t) for a class between the two: its embedding is `unhealthy` parts of that of the
    /// unhealthy label and `1 - unhealthy` of that of the healthy one.
    fn predict_between(&mut self, x: &Tensor, network_time: i64, unhealthy: f64) -> Tensor;
}

/// Says in which direction a label of a noised slice becomes more likely.
pub trait LabelGuide {
    /// Gradient of log p(label | x) with respect to `x`: f32 of the shape of `x`, `[N, C, H, W]`, at
    /// one network time for the whole batch. `label` is a class, not null.
    fn gradient(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor;
}

/// The plain network: one call a label, float32.
impl NoisePredictor for UNet {
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        noise_of(&call(self, x, network_time, &Labels::All(label)), x)
    }

    fn predict_with_variance(
        &mut self,
        x: &Tensor,
        network_time: i64,
        label: ClassLabel,
    ) -> (Tensor, Option<Tensor>) {
        let output = call(self, x, network_time, &Labels::All(label));
        // Values of a learned variance follow the noise.
        let width = channels(x);
        let learned = channels(&output) == 2 * width;
        let variance = learned.then(|| output.narrow(1, width, width));
        (noise_of(&output, x), variance)
    }

    fn predict_between(&mut self, x: &Tensor, network_time: i64, unhealthy: f64) -> Tensor {
        let labels = Labels::Between { unhealthy };
        noise_of(&call(self, x, network_time, &labels), x)
    }
}

fn call(network: &UNet, x: &Tensor, network_time: i64, labels: &Labels) -> Tensor {
    let batch = x.size().first().copied().unwrap_or(0);
    let times = Tensor::full([batch], network_time, (Kind::Int64, x.device()));
    network.forward(x, &times, labels, Mode::Eval)
}

fn channels(x: &Tensor) -> i64 {
    x.size().get(1).copied().unwrap_or(0)
}

fn noise_of(output: &Tensor, x: &Tensor) -> Tensor {
    output.narrow(1, 0, channels(x))
}

impl LabelGuide for Classifier {
    fn gradient(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        self.label_gradient(x, network_time, label).gradient
    }
}

/// Counts the evaluations of another predictor or guide: one slice through the network once.
#[derive(Debug)]
pub(crate) struct Counted<'a, P: ?Sized> {
    inner: &'a mut P,
    evaluations: u64,
}

impl<'a, P: ?Sized> Counted<'a, P> {
    pub(crate) fn new(inner: &'a mut P) -> Self {
        Self {
            inner,
            evaluations: 0,
        }
    }

    pub(crate) fn evaluations(&self) -> u64 {
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

    fn predict_pairs(&mut self, inputs: &[(Tensor, i64)]) -> Vec<(Tensor, Tensor)> {
        for (x, _) in inputs {
            self.count(x, 2);
        }
        self.inner.predict_pairs(inputs)
    }

    fn slices_together(&self) -> usize {
        self.inner.slices_together()
    }

    fn predict_with_variance(
        &mut self,
        x: &Tensor,
        network_time: i64,
        label: ClassLabel,
    ) -> (Tensor, Option<Tensor>) {
        self.count(x, 1);
        self.inner.predict_with_variance(x, network_time, label)
    }

    fn predict_between(&mut self, x: &Tensor, network_time: i64, unhealthy: f64) -> Tensor {
        self.count(x, 1);
        self.inner.predict_between(x, network_time, unhealthy)
    }
}

impl<G: LabelGuide + ?Sized> LabelGuide for Counted<'_, G> {
    fn gradient(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        self.count(x, 1);
        self.inner.gradient(x, network_time, label)
    }
}
