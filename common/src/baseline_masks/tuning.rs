//! The pixel-label tuning of the baselines, as the paper does it: the setting and the threshold with the best
//! mixed DICE on the validation slices, component filter included.
//!
//! Only the baselines are tuned so. What AnoFPDM decides on the validation slices is in
//! [`crate::anofpdm::calibration`], whose types have no place for a pixel label.

use crate::anofpdm::{drop_small, mask_at};
use crate::metrics::overlap::Overlap;
use crate::record::ThresholdOverlaps;

/// One slice at every threshold: masks of `map` (median-filtered, row-major, `height * width`) with components of at
/// most `component_area` pixels dropped, against the true mask `truth`.
///
/// # Panics
/// When map and mask are not of that size.
pub fn threshold_overlaps(
    map: &[f32],
    truth: &[u8],
    (height, width): (usize, usize),
    thresholds: &[f32],
    component_area: u32,
) -> ThresholdOverlaps {
    let of_nothing = Overlap::count(&vec![0; truth.len()], truth);
    let at = thresholds
        .iter()
        .map(|threshold| {
            let mut mask = mask_at(map, *threshold);
            drop_small(&mut mask, height, width, component_area);
            let overlap = Overlap::count(&mask, truth);
            (overlap.predicted, overlap.intersection)
        })
        .collect();
    ThresholdOverlaps {
        pixels: of_nothing.pixels,
        truth: of_nothing.truth,
        at,
    }
}

/// How well each threshold of a setting does: mean DICE over slices, added in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdCurve {
    sums: Vec<f64>,
    slices: usize,
}

impl ThresholdCurve {
    /// The curve of no slice yet, at so many thresholds.
    pub fn new(thresholds: usize) -> Self {
        Self {
            sums: vec![0.0; thresholds],
            slices: 0,
        }
    }

    /// Adds the next slice. Its image label needs no care: a mask without a pixel is what "healthy" means here.
    pub fn add(&mut self, slice: &ThresholdOverlaps) {
        self.slices += 1;
        for (index, sum) in self.sums.iter_mut().enumerate() {
            *sum += slice.overlap(index).map_or(0.0, Overlap::dice);
        }
    }

    /// Mean DICE at each threshold; nothing without slices.
    pub fn dice(&self) -> Vec<f64> {
        if self.slices == 0 {
            return Vec::new();
        }
        let slices = self.slices as f64;
        self.sums.iter().map(|sum| sum / slices).collect()
    }

    /// Number of the best threshold and its mean DICE, the first of equals.
    pub fn best(&self) -> Option<(usize, f64)> {
        first_best(&self.dice())
    }
}

/// Index and value of the largest mean DICE, the first of equals. Compared in float32, as the public search does: what
/// the smoothing of DICE makes of masks that miss a lesion altogether is no difference.
pub fn first_best(values: &[f64]) -> Option<(usize, f64)> {
    #[allow(clippy::cast_possible_truncation)]
    let single = |value: f64| value as f32;
    let numbered = values.iter().copied().enumerate();
    numbered.reduce(|best, next| {
        if single(next.1) > single(best.1) {
            next
        } else {
            best
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_components_are_gone_before_anything_is_counted() {
        // Two pixels side by side and one alone; the lesion is the pair and its neighbour.
        let map = [0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7];
        let truth = [1, 1, 1, 0, 0, 0, 0, 0, 0];
        let all = threshold_overlaps(&map, &truth, (3, 3), &[0.05, 0.5, 0.85], 0);
        assert_eq!(all.at, [(9, 3), (3, 2), (1, 1)]);
        assert_eq!((all.pixels, all.truth), (9, 3));
        let filtered = threshold_overlaps(&map, &truth, (3, 3), &[0.05, 0.5, 0.85], 1);
        assert_eq!(filtered.at, [(9, 3), (2, 2), (0, 0)]);
    }

    #[test]
    fn the_first_of_equal_thresholds_is_taken() {
        let slice = |truth, at: &[(u32, u32)]| ThresholdOverlaps {
            pixels: 10,
            truth,
            at: at.to_vec(),
        };
        let mut curve = ThresholdCurve::new(3);
        assert_eq!(curve.best(), None);
        curve.add(&slice(2, &[(2, 2), (2, 2), (0, 0)]));
        curve.add(&slice(0, &[(4, 0), (0, 0), (0, 0)]));
        let dice = curve.dice();
        assert!((dice[0] - 0.5).abs() < 1e-6 && dice[1] == 1.0);
        assert_eq!(curve.best(), Some((1, 1.0)));
        assert_eq!(first_best(&[0.5, 0.7, 0.7]), Some((1, 0.7)));
        assert_eq!(first_best(&[0.5, 0.5 + 1e-9, 0.4]), Some((0, 0.5)));
    }
}
