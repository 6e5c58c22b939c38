//! Average precision of pooled pixels.
//!
//! AP = sum over distinct scores, highest first, of (R_k - R_(k-1)) P_k: step-wise, ties in one step, no
//! interpolation. True and false positives are counted in integers and the sum is formed in f64 in the order of
//! the scores, so the result depends on nothing but the collection of pixels.

use super::pixel_ranking::rankings_of;
use super::score_run::RunSource;

/// The running sum of average precision, fed with groups of equal score from the highest down.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PrecisionSum {
    pub(crate) true_positives: u64,
    pub(crate) false_positives: u64,
    sum: f64,
}

impl PrecisionSum {
    /// Takes in the pixels of the next lower score.
    pub(crate) fn add_tie(&mut self, positives: u64, negatives: u64) {
        self.true_positives += positives;
        self.false_positives += negatives;
        if positives > 0 {
            let precision =
                self.true_positives as f64 / (self.true_positives + self.false_positives) as f64;
            self.sum += positives as f64 * precision;
        }
    }

    /// The average precision of what was taken in: `None` of nothing, 0 without positives.
    pub(crate) fn average(&self) -> Option<f64> {
        match (self.true_positives, self.false_positives) {
            (0, 0) => None,
            (0, _) => Some(0.0),
            (positives, _) => Some(self.sum / positives as f64),
        }
    }
}

/// Average precision of the pixels of `slices`, read from `source` in several passes of bounded memory.
///
/// `None` when there is no pixel, 0 when none is positive.
pub fn average_precision<S: RunSource + ?Sized>(
    source: &S,
    slices: &[usize],
) -> Result<Option<f64>, S::Error> {
    let [ranking, _] = rankings_of(source, [slices, &[]], None)?;
    Ok(ranking.average_precision)
}

/// Average precision of one sorted run.
pub(super) fn slice_average_precision(run: &[u32]) -> Option<f64> {
    let mut sum = PrecisionSum::default();
    let mut left = run;
    while !left.is_empty() {
        // Within a tie the positives have the higher keys; pixels between those of two scores with positives are only
        // counted.
        sum.add_tie(0, last_while(&mut left, |key| key & 1 == 0));
        if let Some(top) = left.last().copied() {
            let positives = last_while(&mut left, |key| key == top);
            sum.add_tie(positives, last_while(&mut left, |key| key == top - 1));
        }
    }
    sum.average()
}

/// Takes off the last keys as long as they are `wanted`; how many these were.
pub(super) fn last_while(keys: &mut &[u32], wanted: impl Fn(u32) -> bool) -> u64 {
    let left = keys
        .iter()
        .rposition(|key| !wanted(*key))
        .map_or(0, |place| place + 1);
    let taken = keys.len() - left;
    *keys = &keys[..left];
    taken as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::score_run::score_run;
    use super::*;

    /// The definition, straight from sorted pairs.
    fn naive(pixels: &[(f32, u8)]) -> Option<f64> {
        let mut pixels = pixels.to_vec();
        pixels.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut sum = PrecisionSum::default();
        for tie in pixels.chunk_by(|a, b| a.0 == b.0) {
            let positives = tie.iter().filter(|pixel| pixel.1 != 0).count();
            sum.add_tie(positives as u64, (tie.len() - positives) as u64);
        }
        sum.average()
    }

    fn runs(slices: &[Vec<(f32, u8)>]) -> Vec<Vec<u32>> {
        slices
            .iter()
            .map(|slice| {
                let (scores, labels): (Vec<f32>, Vec<u8>) = slice.iter().copied().unzip();
                score_run(&scores, &labels, None).unwrap()
            })
            .collect()
    }

    fn all<S: AsRef<[Vec<u32>]>>(runs: S, keys: u64) -> Option<f64> {
        let runs = runs.as_ref();
        let slices: Vec<usize> = (0..runs.len()).collect();
        let Ok([alone, both]) = rankings_of(runs, [&slices, &[]], Some(keys));
        assert_eq!(alone, both);
        alone.average_precision
    }

    #[test]
    fn nothing_has_no_average_and_no_positive_has_zero() {
        assert_eq!(all([], 8), None);
        assert_eq!(all([vec![]], 8), None);
        assert_eq!(all(runs(&[vec![(0.1, 0), (0.2, 0)]]), 8), Some(0.0));
    }

    #[test]
    fn only_the_wanted_slices_count() {
        let runs = runs(&[vec![(0.9, 0)], vec![(0.5, 1)], vec![(0.1, 0)]]);
        assert_eq!(average_precision(runs.as_slice(), &[1, 2]), Ok(Some(1.0)));
        assert_eq!(average_precision(runs.as_slice(), &[0, 1]), Ok(Some(0.5)));
    }

    /// Coarse scores so that ties, and buckets fuller than the memory, are common.
    fn pixel() -> impl Strategy<Value = (f32, u8)> {
        prop_oneof![
            (0_u8..20).prop_map(|score| f32::from(score) / 4.0),
            (0.0_f32..1e-2),
        ]
        .prop_flat_map(|score| (Just(score), 0_u8..2))
    }

    proptest! {
        #[test]
        fn memory_grouping_and_order_change_no_bit(
            pixels in prop::collection::vec(pixel(), 0..300),
            cuts in prop::collection::vec(0_usize..300, 0..5),
            keys_in_memory in 1_u64..400,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(pixels.len())).collect();
            cuts.extend([0, pixels.len()]);
            cuts.sort_unstable();
            let mut slices: Vec<_> =
                cuts.windows(2).map(|pair| pixels[pair[0]..pair[1]].to_vec()).collect();
            let want = naive(&pixels);
            prop_assert_eq!(all(runs(&slices), keys_in_memory), want);
            slices.reverse();
            prop_assert_eq!(all(runs(&slices), u64::MAX), want);
        }
    }
}
