//! AdamW (decoupled weight decay) whose state can be saved and restored bit for bit.

use tch::Tensor;

use crate::shim::ShimError;
use crate::shim::training::{self, AdamWNumbers, AdamWTensors};
use crate::tensors::NamedTensors;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Constant learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// A saved optimiser state that does not fit the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptimizerStateError {
    #[error("optimizer state has no tensor '{0}': it belongs to another architecture")]
    Missing(String),
    /// A moment has another shape or kind than its parameter.
    #[error("optimizer state '{name}' is {found}, its parameter is {expected}")]
    Mismatch {
        name: String,
        found: String,
        expected: String,
    },
    #[error("optimizer state '{STEP}' is not an i64 step count")]
    Step,
}

/// Name of the step count in a saved state; moments are `m.<parameter>` and `v.<parameter>`.
const STEP: &str = "step";

#[derive(Debug)]
struct Slot {
    name: String,
    parameter: Tensor,
    /// First moment, as the parameter.
    m: Tensor,
    /// Second moment, as the parameter.
    v: Tensor,
}

/// AdamW over the parameters of one network, in name order: `torch.optim.AdamW` with its fused kernel.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    step: i64,
    slots: Vec<Slot>,
}

impl AdamW {
    /// Zero moments for `parameters`, which the optimiser then updates in place.
    pub fn new(settings: AdamWSettings, parameters: &NamedTensors) -> Self {
        let slots = parameters
            .iter()
            .map(|(name, parameter)| Slot {
                name: name.clone(),
                parameter: parameter.shallow_clone(),
                m: parameter.detach().zeros_like(),
                v: parameter.detach().zeros_like(),
            })
            .collect();
        Self {
            settings,
            step: 0,
            slots,
        }
    }

    /// The parameters, in the order [`Self::step`] expects their gradients.
    pub fn parameters(&self) -> Vec<&Tensor> {
        self.slots.iter().map(|slot| &slot.parameter).collect()
    }

    /// One update. `gradients` are in the order of [`Self::parameters`]; an undefined one (the
    /// parameter took no part) counts as zero.
    ///
    /// # Errors
    /// When libtorch refuses: gradients that do not fit their parameters.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<(), ShimError> {
        self.step += 1;
        let gradients: Vec<Tensor> = self
            .slots
            .iter()
            .zip(gradients)
            .map(|(slot, gradient)| {
                if gradient.defined() {
                    gradient.shallow_clone()
                } else {
                    slot.m.zeros_like()
                }
            })
            .collect();
        let list = |of: fn(&Slot) -> &Tensor| self.slots.iter().map(of).collect::<Vec<&Tensor>>();
        let settings = self.settings;
        training::fused_adamw(
            AdamWTensors {
                parameters: &list(|slot| &slot.parameter),
                gradients: &gradients.iter().collect::<Vec<&Tensor>>(),
                first: &list(|slot| &slot.m),
                second: &list(|slot| &slot.v),
            },
            AdamWNumbers {
                step: self.step,
                learning_rate: settings.learning_rate,
                beta1: settings.beta1,
                beta2: settings.beta2,
                weight_decay: settings.weight_decay,
                eps: settings.eps,
            },
        )
    }

    pub const fn updates(&self) -> i64 {
        self.step
    }

    /// Takes over a number of updates, with moments that are copied into [`moments`](Self::moments).
    pub const fn set_updates(&mut self, updates: i64) {
        self.step = updates;
    }

    /// The moments, sharing memory with the optimiser: `m.<parameter>` and `v.<parameter>`.
    pub fn moments(&self) -> NamedTensors {
        let mut moments = NamedTensors::new();
        for slot in &self.slots {
            moments.insert(format!("m.{}", slot.name), slot.m.shallow_clone());
            moments.insert(format!("v.{}", slot.name), slot.v.shallow_clone());
        }
        moments
    }

    /// The state as named tensors: `step` (i64 scalar), `m.<parameter>` and `v.<parameter>`.
    /// They share memory with the optimiser.
    pub fn state(&self) -> NamedTensors {
        let mut state = self.moments();
        state.insert(STEP.to_owned(), Tensor::from(self.step));
        state
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// When a tensor is absent or does not fit its parameter; the optimiser is then to be dropped.
    pub fn restore(&mut self, state: &NamedTensors) -> Result<(), OptimizerStateError> {
        let step = state
            .get(STEP)
            .ok_or_else(|| OptimizerStateError::Missing(STEP.to_owned()))?;
        if step.kind() != tch::Kind::Int64 || step.numel() != 1 || step.int64_value(&[]) < 0 {
            return Err(OptimizerStateError::Step);
        }
        self.step = step.int64_value(&[]);
        for slot in &mut self.slots {
            for (prefix, moment) in [("m", &mut slot.m), ("v", &mut slot.v)] {
                let name = format!("{prefix}.{}", slot.name);
                let stored = state
                    .get(&name)
                    .ok_or_else(|| OptimizerStateError::Missing(name.clone()))?;
                if stored.size() != moment.size() || stored.kind() != moment.kind() {
                    return Err(OptimizerStateError::Mismatch {
                        name,
                        found: format!("{:?} {:?}", stored.kind(), stored.size()),
                        expected: format!("{:?} {:?}", moment.kind(), moment.size()),
                    });
                }
                moment.copy_(stored);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &[f64]) -> NamedTensors {
        NamedTensors::from([("w".to_owned(), Tensor::from_slice(value))])
    }

    /// The formula of AdamW in plain numbers.
    fn by_hand(settings: AdamWSettings, mut w: f64, gradients: &[f64]) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for (index, g) in gradients.iter().enumerate() {
            let t = i32::try_from(index).unwrap() + 1;
            w -= settings.learning_rate * settings.weight_decay * w;
            m = settings.beta1 * m + (1.0 - settings.beta1) * g;
            v = settings.beta2 * v + (1.0 - settings.beta2) * g * g;
            let m_hat = m / (1.0 - settings.beta1.powi(t));
            let v_hat = v / (1.0 - settings.beta2.powi(t));
            w -= settings.learning_rate * m_hat / (v_hat.sqrt() + settings.eps);
        }
        w
    }

    #[test]
    fn first_step_is_the_learning_rate_whatever_the_gradient() {
        let settings = AdamWSettings {
            learning_rate: 0.01,
            ..AdamWSettings::default()
        };
        let parameters = one(&[1.0, 1.0]);
        let mut optimizer = AdamW::new(settings, &parameters);
        optimizer.step(&[Tensor::from_slice(&[0.5, -4e3])]).unwrap();
        let after = Vec::<f64>::try_from(&parameters["w"]).unwrap();
        assert!((after[0] - 0.99).abs() < 1e-9, "{after:?}");
        assert!((after[1] - 1.01).abs() < 1e-9, "{after:?}");
    }

    #[test]
    fn follows_the_formula_with_weight_decay() {
        let settings = AdamWSettings {
            learning_rate: 0.03,
            weight_decay: 0.1,
            ..AdamWSettings::default()
        };
        let gradients = [0.5, -0.25, 3.0, 0.0, 1e-3];
        let parameters = one(&[0.7]);
        let mut optimizer = AdamW::new(settings, &parameters);
        for g in gradients {
            optimizer.step(&[Tensor::from_slice(&[g])]).unwrap();
        }
        let expected = by_hand(settings, 0.7, &gradients);
        let found = parameters["w"].double_value(&[0]);
        assert!((found - expected).abs() < 1e-14, "{found} {expected}");
    }

    #[test]
    fn an_undefined_gradient_counts_as_zero() {
        let run = |second: Tensor| {
            let parameters = one(&[0.7]);
            let mut optimizer = AdamW::new(AdamWSettings::default(), &parameters);
            optimizer.step(&[Tensor::from_slice(&[2.0])]).unwrap();
            optimizer.step(&[second]).unwrap();
            parameters["w"].double_value(&[0])
        };
        let skipped = run(Tensor::new());
        assert!((skipped - run(Tensor::from_slice(&[0.0]))).abs() < 1e-16);
    }

    #[test]
    fn a_restored_state_goes_on_bit_for_bit() {
        let gradient = |i: i32| Tensor::from_slice(&[f64::from(i).sin(), f64::from(i).cos()]);
        let straight = one(&[0.1, -0.2]);
        let mut optimizer = AdamW::new(AdamWSettings::default(), &straight);
        (0..10).for_each(|i| optimizer.step(&[gradient(i)]).unwrap());

        let first = one(&[0.1, -0.2]);
        let mut optimizer = AdamW::new(AdamWSettings::default(), &first);
        (0..4).for_each(|i| optimizer.step(&[gradient(i)]).unwrap());
        let second = NamedTensors::from([("w".to_owned(), first["w"].copy())]);
        let mut resumed = AdamW::new(AdamWSettings::default(), &second);
        resumed.restore(&optimizer.state()).unwrap();
        (4..10).for_each(|i| resumed.step(&[gradient(i)]).unwrap());
        assert_eq!(straight["w"], second["w"]);
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let mut optimizer = AdamW::new(AdamWSettings::default(), &one(&[0.0, 0.0]));
        let other = AdamW::new(AdamWSettings::default(), &one(&[0.0]));
        let message = optimizer.restore(&other.state()).unwrap_err().to_string();
        assert!(message.contains("m.w"), "{message}");
        let empty = NamedTensors::new();
        assert!(matches!(
            optimizer.restore(&empty),
            Err(OptimizerStateError::Missing(_))
        ));
    }
}
