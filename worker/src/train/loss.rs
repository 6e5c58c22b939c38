//! The loss as people see it: a recent mean, and a curve of bounded length.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps in the recent mean.
const RECENT: usize = 100;
/// Points of a whole curve, at most.
const CURVE_POINTS: u64 = 500;

/// One point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Last step of the stretch.
    pub step: u64,
    /// Mean loss over the stretch.
    pub loss: f64,
}

/// What is kept of the losses of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossHistory {
    /// Steps a point of the curve stands for.
    every: u64,
    points: Vec<LossPoint>,
    /// Sum over the stretch not yet in the curve.
    sum: f64,
    /// The last losses, oldest first.
    recent: VecDeque<f64>,
    /// Losses of the averaged weights on validation slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    validation: Vec<LossPoint>,
    /// The lowest of them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<LossPoint>,
}

impl LossHistory {
    /// An empty history for a run of `steps`.
    pub fn new(steps: u64) -> Self {
        Self {
            every: steps.div_ceil(CURVE_POINTS).max(1),
            points: Vec::new(),
            sum: 0.0,
            recent: VecDeque::new(),
            validation: Vec::new(),
            best: None,
        }
    }

    /// Adds the loss of the step that ended as number `step` (from 1, without gaps).
    pub fn push(&mut self, step: u64, loss: f64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
        self.sum += loss;
        if step.is_multiple_of(self.every) {
            #[allow(clippy::cast_precision_loss)] // stretches are short
            let loss = self.sum / self.every as f64;
            self.points.push(LossPoint { step, loss });
            self.sum = 0.0;
        }
    }

    /// Adds a validation after `step`; whether its loss is the lowest so far. Of more than 500 points
    /// every second one is kept.
    pub fn push_validation(&mut self, step: u64, loss: f64) -> bool {
        if self.validation.len() as u64 >= CURVE_POINTS {
            let mut second = false;
            self.validation.retain(|_| {
                second = !second;
                !second
            });
        }
        let point = LossPoint { step, loss };
        self.validation.push(point);
        let lowest = self.best.is_none_or(|best| loss < best.loss);
        if lowest {
            self.best = Some(point);
        }
        lowest
    }

    /// Losses of the averaged weights on validation slices.
    pub fn validation(&self) -> &[LossPoint] {
        &self.validation
    }

    /// The validation with the lowest loss.
    pub const fn best(&self) -> Option<LossPoint> {
        self.best
    }

    /// Mean of the last 100 losses; `None` before the first.
    pub fn recent_mean(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // at most 100
        let count = self.recent.len() as f64;
        (!self.recent.is_empty()).then(|| self.recent.iter().sum::<f64>() / count)
    }

    /// The curve: at most 500 points.
    pub fn curve(&self) -> &[LossPoint] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_bounded_and_holds_means() {
        let mut history = LossHistory::new(1200);
        for step in 1..=1200_u32 {
            history.push(u64::from(step), f64::from(step));
        }
        assert_eq!(history.curve().len(), 400);
        assert_eq!(history.curve()[0], LossPoint { step: 3, loss: 2.0 });
        assert_eq!(history.recent_mean(), Some((1101.0 + 1200.0) / 2.0));
    }

    #[test]
    fn validations_are_bounded_and_the_best_is_known() {
        let mut history = LossHistory::new(1);
        for step in 1..=1200_u32 {
            let loss = (f64::from(step) - 700.0).abs();
            assert_eq!(history.push_validation(u64::from(step), loss), step <= 700);
        }
        assert!(history.validation().len() <= 500);
        assert_eq!(
            history.validation().last().map(|point| point.step),
            Some(1200)
        );
        let best = LossPoint {
            step: 700,
            loss: 0.0,
        };
        assert_eq!(history.best(), Some(best));
    }

    #[test]
    fn a_short_run_has_a_point_a_step() {
        let mut history = LossHistory::new(3);
        assert_eq!(history.recent_mean(), None);
        history.push(1, 0.5);
        assert_eq!(history.curve(), [LossPoint { step: 1, loss: 0.5 }]);
    }
}
