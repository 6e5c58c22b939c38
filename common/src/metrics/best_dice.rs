//! The DICE that a map could reach if its threshold were known: what is lost by the threshold, and what by the map.
//!
//! One threshold is sought for all slices, with the pixel labels of the very slices it is scored on. Only foreground
//! pixels are thresholded and no small component is dropped: the runs that score a map hold no more. Thresholds are
//! the lower borders of the coarse bins of [`super::histogram_ap`] (8 bits of the score), and the one above all scores.

use serde::{Deserialize, Serialize};

use super::histogram_ap::{Resolution, ScoreHistogram};
use super::overlap::{Overlap, PooledOverlap};

/// The best that one threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestDice {
    /// Largest mean DICE over slices.
    pub mean: f64,
    /// The highest threshold that reaches it; `None` where empty masks do.
    pub threshold: Option<f32>,
    /// Largest DICE of all pixels of all slices together; its threshold may be another.
    pub pooled: f64,
}

/// What masks of all thresholds are worth, gathered slice by slice.
#[derive(Debug, Clone, Default)]
pub struct DiceCurve {
    of_empty_masks: f64,
    slices: usize,
    pooled: PooledOverlap,
    /// What changes when the threshold falls to the lower border of a bin, by its number.
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Change {
    /// Of the sum of the slices' DICE.
    dice: f64,
    predicted: u64,
    intersection: u64,
}

/// That of the bins: coarse ones, of which there are 65,536.
const RESOLUTION: Resolution = Resolution::Coarse;

/// What masks of all thresholds are worth on one slice.
#[derive(Debug)]
pub struct SliceCurve {
    overlap: Overlap,
    /// Number of the bin, from the highest down.
    changes: Vec<(u32, Change)>,
}

impl SliceCurve {
    /// Of a slice whose pixels and lesion pixels are as `overlap` counts them, and of its scored pixels.
    ///
    /// # Panics
    /// On a histogram of another resolution than [`Resolution::Coarse`].
    pub fn new(overlap: Overlap, scores: &ScoreHistogram) -> Self {
        assert_eq!(
            scores.resolution(),
            RESOLUTION,
            "a histogram of another resolution. This is a bug."
        );
        let mut mask = overlap.emptied();
        let mut dice = mask.dice();
        let from_the_highest = scores.bins().iter().rev();
        let changes = from_the_highest.map(|bin| {
            // A run has at most as many pixels as its slice, which are counted in 32 bits.
            mask.predicted += u32::try_from(bin.positives + bin.negatives).unwrap_or(u32::MAX);
            mask.intersection += u32::try_from(bin.positives).unwrap_or(u32::MAX);
            let change = Change {
                dice: mask.dice() - dice,
                predicted: bin.positives + bin.negatives,
                intersection: bin.positives,
            };
            dice = mask.dice();
            (bin.index, change)
        });
        Self {
            overlap,
            changes: changes.collect(),
        }
    }
}

impl DiceCurve {
    /// Adds a slice whose mask is empty whatever the threshold, as that of a slice classified healthy is.
    pub fn add_empty(&mut self, overlap: Overlap) {
        let mask = overlap.emptied();
        self.of_empty_masks += mask.dice();
        self.slices += 1;
        self.pooled.add(mask);
    }

    pub fn add(&mut self, slice: &SliceCurve) {
        self.add_empty(slice.overlap);
        let needed = slice
            .changes
            .first()
            .map_or(0, |(bin, _)| *bin as usize + 1);
        if self.changes.len() < needed {
            self.changes.resize(needed, Change::default());
        }
        for (bin, of_slice) in &slice.changes {
            let change = &mut self.changes[*bin as usize];
            change.dice += of_slice.dice;
            change.predicted += of_slice.predicted;
            change.intersection += of_slice.intersection;
        }
    }

    /// The best threshold; `None` without slices.
    pub fn best(&self) -> Option<BestDice> {
        if self.slices == 0 {
            return None;
        }
        let mut pooled = self.pooled;
        let mut sum = self.of_empty_masks;
        let (mut best_sum, mut threshold, mut best_pooled) = (sum, None, pooled.dice());
        for (index, change) in self.changes.iter().enumerate().rev() {
            sum += change.dice;
            pooled.predicted += change.predicted;
            pooled.intersection += change.intersection;
            best_pooled = best_pooled.max(pooled.dice());
            if sum > best_sum {
                (best_sum, threshold) = (sum, Some(RESOLUTION.lowest_score(index as u32)));
            }
        }
        Some(BestDice {
            // Added and taken away again, a sum can end an ulp beyond what it is.
            mean: (best_sum / self.slices as f64).clamp(0.0, 1.0),
            threshold,
            pooled: best_pooled,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::score_run::score_run;
    use super::*;

    fn curve(slices: &[(Vec<f32>, Vec<u8>, bool)]) -> DiceCurve {
        let mut curve = DiceCurve::default();
        for (scores, labels, called_unhealthy) in slices {
            let run = score_run(scores, labels, None).unwrap();
            let histogram = ScoreHistogram::from_run(&run, Resolution::Coarse);
            let overlap = Overlap::count(&vec![0; labels.len()], labels);
            match called_unhealthy {
                true => curve.add(&SliceCurve::new(overlap, &histogram)),
                false => curve.add_empty(overlap),
            }
        }
        curve
    }

    /// The definition: every threshold on every slice.
    fn naive(slices: &[(Vec<f32>, Vec<u8>, bool)]) -> (f64, f64) {
        let mut thresholds: Vec<f32> = slices.iter().flat_map(|s| s.0.clone()).collect();
        thresholds.push(f32::INFINITY);
        let at = |threshold: f32| {
            let (mut sum, mut pool) = (0.0, PooledOverlap::default());
            for (scores, labels, called_unhealthy) in slices {
                let mask: Vec<u8> = scores
                    .iter()
                    .map(|score| u8::from(*called_unhealthy && *score >= threshold))
                    .collect();
                let overlap = Overlap::count(&mask, labels);
                sum += overlap.dice();
                pool.add(overlap);
            }
            (sum / slices.len() as f64, pool.dice())
        };
        thresholds
            .into_iter()
            .map(at)
            .reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
            .unwrap()
    }

    #[test]
    fn nothing_has_no_best() {
        assert_eq!(DiceCurve::default().best(), None);
    }

    #[test]
    fn one_threshold_serves_all_slices() {
        // Alone each slice is found whole, at 0.5 and at 2; together one of the two suffers.
        let slices = [
            (vec![0.5, 0.25, 0.25, 0.25], vec![1, 0, 0, 0], true),
            (vec![2.0, 1.0, 1.0, 1.0], vec![1, 0, 0, 0], true),
        ];
        let best = curve(&slices).best().unwrap();
        // At 0.5: 1 and 2 / 5.
        assert!((best.mean - 0.7).abs() < 1e-6, "{best:?}");
        assert_eq!(best.threshold, Some(0.5));
        // Pooled at 2: one pixel of two, none wrong: 2 / 3; at 0.5: 4 / 7.
        assert!((best.pooled - 2.0 / 3.0).abs() < 1e-6, "{best:?}");
    }

    #[test]
    fn empty_masks_are_best_where_nothing_is_to_be_found() {
        let best = curve(&[(vec![0.5, 0.1], vec![0, 0], true)]).best().unwrap();
        assert_eq!((best.mean, best.threshold, best.pooled), (1.0, None, 1.0));
    }

    proptest! {
        /// Scores of few bits, so that a bin is one score.
        #[test]
        fn it_is_the_best_of_all_thresholds(
            slices in prop::collection::vec(
                (prop::collection::vec((0_u8..12, 0_u8..2), 1..12), any::<bool>()), 1..8
            ),
        ) {
            let slices: Vec<(Vec<f32>, Vec<u8>, bool)> = slices
                .into_iter()
                .map(|(pixels, called)| {
                    let (scores, labels): (Vec<u8>, Vec<u8>) = pixels.into_iter().unzip();
                    (scores.into_iter().map(|s| f32::from(s) / 4.0).collect(), labels, called)
                })
                .collect();
            let best = curve(&slices).best().unwrap();
            let (mean, pooled) = naive(&slices);
            prop_assert!((best.mean - mean).abs() < 1e-12);
            prop_assert!((best.pooled - pooled).abs() < 1e-12);
        }
    }
}
