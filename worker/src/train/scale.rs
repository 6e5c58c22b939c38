//! Loss scaling for float16, whose smallest gradients would be zero (Micikevicius et al., "Mixed
//! Precision Training", 2018).
//!
//! The loss is multiplied before backward and the gradients are divided after it. Where one of them
//! overflows the step is left out and the factor halved; after enough steps without, it is doubled.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::shim::ShimError;
use crate::shim::training::unscale;
use crate::tensors::NamedTensors;

/// Names in a saved optimiser state.
const FACTOR: &str = "loss_scale";
const CLEAN_STEPS: &str = "loss_scale_clean_steps";

/// Steps without overflow before the factor grows; with the first factor as PyTorch has them.
const GROW_AFTER: i64 = 2000;
const FIRST: f64 = 65_536.0;
/// Beyond this growing brings nothing: float32 gradients overflow.
const LARGEST: f64 = 16_777_216.0;
/// Below this the loss itself overflows, and no factor helps.
const SMALLEST: f64 = 1.0;

/// The factor and how long it has held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    factor: f64,
    clean_steps: i64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: FIRST,
            clean_steps: 0,
        }
    }
}

impl LossScale {
    /// What the loss is multiplied by.
    pub(super) const fn factor(&self) -> f64 {
        self.factor
    }

    /// Divides the gradients in place; whether they are to be used. Every rank has the same sums and
    /// so decides the same.
    pub(super) fn unscale(&mut self, gradients: &[Tensor]) -> Result<bool, ShimError> {
        let defined: Vec<&Tensor> = gradients.iter().filter(|g| g.defined()).collect();
        let finite = unscale(&defined, self.factor)?;
        if !finite {
            self.overflowed();
            return Ok(false);
        }
        self.clean_steps += 1;
        if self.clean_steps >= GROW_AFTER {
            self.factor = (self.factor * 2.0).min(LARGEST);
            self.clean_steps = 0;
        }
        Ok(true)
    }

    /// Halves the factor after a step that was left out.
    pub(super) fn overflowed(&mut self) {
        self.factor = (self.factor / 2.0).max(SMALLEST);
        self.clean_steps = 0;
    }

    /// Whether there is a smaller factor to be tried.
    pub(super) fn may_shrink(&self) -> bool {
        self.factor > SMALLEST
    }

    /// Adds itself to a saved optimiser state.
    pub(super) fn save(&self, state: &mut NamedTensors) {
        state.insert(FACTOR.to_owned(), Tensor::from(self.factor));
        state.insert(CLEAN_STEPS.to_owned(), Tensor::from(self.clean_steps));
    }

    /// Resumes from a saved optimiser state, where it has one.
    pub(super) fn restore(&mut self, state: &NamedTensors) {
        if let (Some(factor), Some(clean)) = (state.get(FACTOR), state.get(CLEAN_STEPS))
            && factor.numel() == 1
            && clean.numel() == 1
        {
            self.factor = factor.double_value(&[]).clamp(SMALLEST, LARGEST);
            self.clean_steps = clean.int64_value(&[]).clamp(0, GROW_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_halves_and_leaves_out_and_long_peace_doubles() {
        let mut scale = LossScale::default();
        let overflow = [Tensor::from_slice(&[1.0_f32, f32::INFINITY])];
        assert!(!scale.unscale(&overflow).unwrap());
        assert_eq!(scale.factor(), FIRST / 2.0);
        let gradients = [Tensor::from_slice(&[32_768.0_f32, -65_536.0])];
        assert!(scale.unscale(&gradients).unwrap());
        assert_eq!(gradients[0], Tensor::from_slice(&[1.0_f32, -2.0]));
        for _ in 1..GROW_AFTER {
            assert!(scale.unscale(&gradients).unwrap());
        }
        assert_eq!(scale.factor(), FIRST);
        let mut state = NamedTensors::new();
        scale.save(&mut state);
        let mut other = LossScale {
            factor: 3.0,
            clean_steps: 5,
        };
        other.restore(&state);
        assert_eq!(other, scale);
        // 65536 is 2 to the 16th.
        for _ in 0..16 {
            assert!(other.may_shrink());
            other.overflowed();
        }
        assert!(!other.may_shrink());
    }
}
