//! Exact average precision over any number of pixels in bounded memory.
//!
//! AP = sum over distinct scores, highest first, of (R_k - R_(k-1)) P_k: step-wise, ties in one step, no
//! interpolation. True and false positives are counted in integers and the sum is formed in f64 in the order of
//! the scores, so the result depends on nothing but the collection of pixels.

use rayon::slice::ParallelSliceMut;

use super::score_run::RunSource;

/// Most keys held in memory at a time (64 MiB).
const KEYS_IN_MEMORY: u64 = 1 << 24;
/// Lower bits of a key that its bucket does not say. Even at this width a tie (two keys: label 0 and 1) never
/// straddles a border.
const BUCKET_BITS: u32 = 16;
const BUCKETS: usize = 1 << (u32::BITS - BUCKET_BITS);
const KEYS_IN_BUCKET: usize = 1 << BUCKET_BITS;

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
    within(source, slices, KEYS_IN_MEMORY)
}

fn within<S: RunSource + ?Sized>(
    source: &S,
    slices: &[usize],
    keys_in_memory: u64,
) -> Result<Option<f64>, S::Error> {
    let mut sizes = vec![0_u64; BUCKETS];
    source.visit_runs(slices, &mut |_, run| {
        for key in run {
            sizes[(key >> BUCKET_BITS) as usize] += 1;
        }
    })?;
    let mut sum = PrecisionSum::default();
    let mut end = BUCKETS;
    while end > 0 {
        let (start, keys) = next_range(&sizes, end, keys_in_memory);
        if keys > keys_in_memory {
            add_crowded_bucket(source, slices, start, &mut sum)?;
        } else if keys > 0 {
            add_range(source, slices, start..end, keys, &mut sum)?;
        }
        end = start;
    }
    Ok(sum.average())
}

/// The longest range of buckets below `end` that fits, but at least one bucket; with its number of keys.
fn next_range(sizes: &[u64], end: usize, keys_in_memory: u64) -> (usize, u64) {
    let mut start = end - 1;
    let mut keys = sizes[start];
    while start > 0 && keys + sizes[start - 1] <= keys_in_memory {
        start -= 1;
        keys += sizes[start];
    }
    (start, keys)
}

/// Gathers the keys of a range of buckets, sorts them and walks them down.
fn add_range<S: RunSource + ?Sized>(
    source: &S,
    slices: &[usize],
    buckets: std::ops::Range<usize>,
    count: u64,
    sum: &mut PrecisionSum,
) -> Result<(), S::Error> {
    let mut keys = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    source.visit_runs(slices, &mut |_, run| {
        keys.extend_from_slice(part_in(run, &buckets));
    })?;
    keys.par_sort_unstable();
    for tie in keys.chunk_by(|a, b| a >> 1 == b >> 1).rev() {
        let negatives = tie.partition_point(|key| key & 1 == 0);
        sum.add_tie((tie.len() - negatives) as u64, negatives as u64);
    }
    Ok(())
}

/// Counts a bucket too full to gather (a map with one value over most of the image) key by key.
fn add_crowded_bucket<S: RunSource + ?Sized>(
    source: &S,
    slices: &[usize],
    bucket: usize,
    sum: &mut PrecisionSum,
) -> Result<(), S::Error> {
    let mut counts = vec![0_u64; KEYS_IN_BUCKET];
    source.visit_runs(slices, &mut |_, run| {
        for key in part_in(run, &(bucket..bucket + 1)) {
            counts[*key as usize % KEYS_IN_BUCKET] += 1;
        }
    })?;
    for [negatives, positives] in counts.as_chunks().0.iter().rev() {
        sum.add_tie(*positives, *negatives);
    }
    Ok(())
}

/// The part of a sorted run that lies in a range of buckets.
fn part_in<'a>(run: &'a [u32], buckets: &std::ops::Range<usize>) -> &'a [u32] {
    let bucket = |key: &u32| (key >> BUCKET_BITS) as usize;
    let from = run.partition_point(|key| bucket(key) < buckets.start);
    let to = run.partition_point(|key| bucket(key) < buckets.end);
    &run[from..to]
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
        within(runs, &slices, keys).unwrap()
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
