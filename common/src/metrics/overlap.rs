//! DICE, IoU, precision and recall from integer pixel counts.

use serde::{Deserialize, Serialize};

/// Smoothing in numerator and denominator: two empty masks agree fully, one empty mask hardly at all.
const SMOOTHING: f64 = 1e-6;

/// How a predicted mask and the true mask of one slice overlap, in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    pub pixels: u32,
    pub predicted: u32,
    pub truth: u32,
    pub intersection: u32,
}

/// Counts that no pair of masks can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "impossible pixel counts: {} predicted, {} true, {} common of {} pixels",
    .0.predicted, .0.truth, .0.intersection, .0.pixels
)]
pub struct ImpossibleOverlap(pub Overlap);

impl Overlap {
    /// Counts two masks of one slice (any value but 0 is set).
    ///
    /// # Panics
    /// When the masks differ in size or have 2^32 pixels or more.
    pub fn count(predicted: &[u8], truth: &[u8]) -> Self {
        assert_eq!(
            predicted.len(),
            truth.len(),
            "masks of different sizes. This is a bug."
        );
        let pixels =
            u32::try_from(predicted.len()).expect("a slice of 2^32 pixels or more. This is a bug.");
        let mut overlap = Self {
            pixels,
            ..Self::default()
        };
        for (p, t) in predicted.iter().zip(truth) {
            let (p, t) = (u32::from(*p != 0), u32::from(*t != 0));
            overlap.predicted += p;
            overlap.truth += t;
            overlap.intersection += p & t;
        }
        overlap
    }

    /// The same slice with an empty prediction: what a slice classified healthy counts as.
    #[must_use]
    pub const fn emptied(self) -> Self {
        Self {
            predicted: 0,
            intersection: 0,
            ..self
        }
    }

    /// Whether some pair of masks has these counts; what came from a file or a message is checked first.
    pub fn check(self) -> Result<Self, ImpossibleOverlap> {
        let union = u64::from(self.predicted) + u64::from(self.truth)
            - u64::from(self.intersection.min(self.truth));
        let possible = self.intersection <= self.predicted
            && self.intersection <= self.truth
            && union <= u64::from(self.pixels);
        if possible {
            Ok(self)
        } else {
            Err(ImpossibleOverlap(self))
        }
    }

    /// DICE: (2 intersection + 1e-6) / (predicted + truth + 1e-6).
    pub fn dice(self) -> f64 {
        let sum = f64::from(self.predicted) + f64::from(self.truth);
        (2.0 * f64::from(self.intersection) + SMOOTHING) / (sum + SMOOTHING)
    }

    /// IoU: (intersection + 1e-6) / (union + 1e-6).
    pub fn iou(self) -> f64 {
        let intersection = f64::from(self.intersection);
        let union = f64::from(self.predicted) + f64::from(self.truth) - intersection;
        (intersection + SMOOTHING) / (union + SMOOTHING)
    }
}

/// Pixel counts pooled over slices. Adding is exact, so order and grouping do not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PooledOverlap {
    pub predicted: u64,
    pub truth: u64,
    pub intersection: u64,
}

impl PooledOverlap {
    pub fn add(&mut self, slice: Overlap) {
        self.predicted += u64::from(slice.predicted);
        self.truth += u64::from(slice.truth);
        self.intersection += u64::from(slice.intersection);
    }

    pub fn merge(&mut self, other: Self) {
        self.predicted += other.predicted;
        self.truth += other.truth;
        self.intersection += other.intersection;
    }

    /// DICE of all pixels together, smoothed as that of a slice.
    pub fn dice(self) -> f64 {
        let sum = (self.predicted + self.truth) as f64;
        (2.0 * self.intersection as f64 + SMOOTHING) / (sum + SMOOTHING)
    }

    /// Share of the predicted pixels that are right; 0 when nothing is predicted. (The public code's log calls
    /// this "recall".)
    pub fn precision(self) -> f64 {
        share(self.intersection, self.predicted)
    }

    /// Share of the true pixels that are found; 0 when there is none. (The public code's log calls this
    /// "precision".)
    pub fn recall(self) -> f64 {
        share(self.intersection, self.truth)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_empty_masks_agree_and_one_empty_mask_does_not() {
        let both = Overlap::count(&[0; 9], &[0; 9]);
        assert_eq!((both.dice(), both.iou()), (1.0, 1.0));
        let one = Overlap::count(&[0; 9], &[1; 9]);
        assert!(one.dice() < 1e-6 && one.iou() < 1e-6);
    }

    #[test]
    fn counts_are_of_set_pixels() {
        let overlap = Overlap::count(&[1, 255, 0, 0], &[1, 0, 1, 0]);
        let want = Overlap {
            pixels: 4,
            predicted: 2,
            truth: 2,
            intersection: 1,
        };
        assert_eq!(overlap, want);
        assert_eq!(want.emptied().predicted, 0);
        assert!((overlap.dice() - 0.5).abs() < 1e-6);
        assert!((overlap.iou() - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn impossible_counts_are_refused() {
        let good = Overlap {
            pixels: 10,
            predicted: 6,
            truth: 5,
            intersection: 1,
        };
        assert_eq!(good.check(), Ok(good));
        for bad in [
            Overlap {
                intersection: 0,
                ..good
            },
            Overlap {
                intersection: 6,
                ..good
            },
            Overlap { pixels: 9, ..good },
            Overlap {
                predicted: u32::MAX,
                truth: u32::MAX,
                ..good
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pooled_shares_without_pixels_are_zero() {
        let mut pool = PooledOverlap::default();
        assert_eq!((pool.precision(), pool.recall()), (0.0, 0.0));
        pool.add(Overlap::count(&[1, 1, 0, 0], &[1, 0, 0, 0]));
        let mut twice = pool;
        twice.merge(pool);
        assert_eq!((twice.precision(), twice.recall()), (0.5, 1.0));
    }
}
