//! Exponential moving average of the weights: from step 1, without warm-up.

use tch::Tensor;

use crate::shim::{ShimError, training};
use crate::tensors::NamedTensors;

/// The averaged weights, under the names of the raw ones.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: NamedTensors,
}

impl Ema {
    /// Starts as a copy of `weights`.
    pub fn new(decay: f64, weights: &NamedTensors) -> Self {
        let averages = weights
            .iter()
            .map(|(name, weight)| (name.clone(), weight.detach().copy()))
            .collect();
        Self { decay, averages }
    }

    /// Makes `averages`, which a network may own, copies of `weights` and continues from there in them.
    pub fn within(decay: f64, averages: NamedTensors, weights: &NamedTensors) -> Self {
        tch::no_grad(|| {
            for (name, average) in &averages {
                if let Some(weight) = weights.get(name) {
                    average.shallow_clone().copy_(weight);
                }
            }
        });
        Self { decay, averages }
    }

    /// `average = decay average + (1 - decay) weight`, for all tensors at once.
    ///
    /// # Errors
    /// When libtorch refuses: weights that do not fit the averages.
    pub fn update(&mut self, weights: &NamedTensors) -> Result<(), ShimError> {
        let (averages, weights): (Vec<&Tensor>, Vec<&Tensor>) = self
            .averages
            .iter()
            .filter_map(|(name, average)| Some((average, weights.get(name)?)))
            .unzip();
        training::lerp_all(&averages, &weights, 1.0 - self.decay)
    }

    /// The averaged weights, sharing memory with this one.
    pub fn weights(&self) -> NamedTensors {
        self.averages
            .iter()
            .map(|(name, average)| (name.clone(), Tensor::shallow_clone(average)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_recurrence_from_the_first_step() {
        let mut weights = NamedTensors::from([("w".to_owned(), Tensor::from_slice(&[1.0_f64]))]);
        let mut ema = Ema::new(0.9, &weights);
        let mut expected = 1.0;
        for step in 1..=5 {
            let value = f64::from(step) * 2.0;
            weights.insert("w".to_owned(), Tensor::from_slice(&[value]));
            ema.update(&weights).unwrap();
            expected = 0.9 * expected + 0.1 * value;
        }
        let found = ema.weights()["w"].double_value(&[0]);
        assert!((found - expected).abs() < 1e-14, "{found} {expected}");
    }

    #[test]
    fn is_a_copy_of_the_weights_not_a_view() {
        let mut weight = Tensor::from_slice(&[1.0_f64]);
        let weights = NamedTensors::from([("w".to_owned(), weight.shallow_clone())]);
        let ema = Ema::new(0.5, &weights);
        drop(weight.fill_(7.0));
        assert_eq!(ema.weights()["w"].double_value(&[0]), 1.0);
    }
}
