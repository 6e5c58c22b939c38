//! What the order of pooled pixels by their score is worth: average precision, area under the ROC curve, and the false
//! positive rate at which 95 % of the anomalous pixels are found. Exact, over any number of pixels, in bounded memory.
//!
//! Both set-ups come out of one walk: the pixels of slices with a lesion and those of other slices are counted apart.
//! Pixels are counted in integers and the sum of average precision is formed in f64 in the order of the scores, so
//! results depend on nothing but the collection of pixels.

mod walk;

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::average_precision::{PrecisionSum, last_while};
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};
use walk::Walk;

/// Most keys of a source on disk that are held in memory at a time (64 MiB): each range of them is a pass over it.
pub(super) const KEYS_IN_MEMORY: u64 = 1 << 24;
/// The same where passes are free, so that ranges are counted beside each other.
const KEYS_AT_HAND: u64 = 1 << 20;
/// A bucket of more keys is counted key by key: to sort them takes longer than to walk its counters.
const CROWD: u64 = 1 << 14;
/// Adjacent ones of them that are counted in one pass (8 MiB of counters).
const COUNTED_BUCKETS: usize = 8;
/// Lower bits of a key that its bucket does not say. Even at this width a tie (two keys: label 0 and 1) never
/// straddles a border.
const BUCKET_BITS: u32 = 16;
const BUCKETS: usize = 1 << (u32::BITS - BUCKET_BITS);
const KEYS_IN_BUCKET: usize = 1 << BUCKET_BITS;

/// How well scores rank anomalous pixels before others. `None` where it is not defined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PixelRanking {
    /// Average precision: 0 without anomalous pixels, `None` without pixels.
    pub average_precision: Option<f64>,
    /// What it would be at least and at most, were the pixels of each score told apart: bounds of the exact value where
    /// scores were rounded to bins.
    pub tie_bounds: Option<[f64; 2]>,
    /// Share of pairs of an anomalous and another pixel in the right order, a tie counting half; `None` without pairs.
    pub auroc: Option<f64>,
    /// Share of the other pixels above the highest threshold that finds at least 95 % of the anomalous ones (no
    /// interpolation); `None` without pairs.
    pub fpr_at_95_tpr: Option<f64>,
}

/// Slices whose pixels are counted apart: those of the unhealthy set-up, and the others that the mixed one has too.
pub(super) type Kinds<T> = [T; 2];

/// The rankings of both set-ups, in the order of [`Setup::ALL`].
pub fn pixel_rankings<S: RunSource + ?Sized>(
    source: &S,
    slices: &[SliceStatistics],
) -> Result<[PixelRanking; 2], S::Error> {
    let unhealthy = Setup::Unhealthy.indices(slices);
    let others: Vec<usize> = (0..slices.len())
        .filter(|index| !Setup::Unhealthy.includes(&slices[*index]))
        .collect();
    Ok(in_order(rankings_of(source, [&unhealthy, &others], None)?))
}

/// The same of sorted runs that stand for several slices each: those of the unhealthy set-up, then others.
pub(super) fn rankings_of_batches(batches: Kinds<Vec<Vec<u32>>>) -> [PixelRanking; 2] {
    let [unhealthy, others] = batches;
    let first: Vec<usize> = (0..unhealthy.len()).collect();
    let second: Vec<usize> = (first.len()..first.len() + others.len()).collect();
    let all: Vec<Vec<u32>> = unhealthy.into_iter().chain(others).collect();
    match rankings_of(all.as_slice(), [&first, &second], None) {
        Ok(rankings) => in_order(rankings),
        Err(never) => match never {},
    }
}

fn in_order([of_first, of_all]: [PixelRanking; 2]) -> [PixelRanking; 2] {
    Setup::ALL.map(|setup| match setup {
        Setup::Mixed => of_all,
        Setup::Unhealthy => of_first,
    })
}

/// The rankings of the pixels of the first slices, and of those of both.
pub(super) fn rankings_of<S: RunSource + ?Sized>(
    source: &S,
    slices: Kinds<&[usize]>,
    keys_in_memory: Option<u64>,
) -> Result<[PixelRanking; 2], S::Error> {
    let passes = match (keys_in_memory, source.in_memory()) {
        (Some(keys), _) => Passes::few(keys),
        (None, true) => Passes::free(),
        (None, false) => Passes::few(KEYS_IN_MEMORY),
    };
    let mut sizes = vec![0_u64; BUCKETS];
    let mut totals = <Kinds<Totals>>::default();
    for (slices, totals) in slices.iter().zip(&mut totals) {
        source.visit_runs(slices, &mut |_, run| {
            for key in run {
                sizes[(key >> BUCKET_BITS) as usize] += 1;
            }
            totals.add(run);
        })?;
    }
    let [first, others] = totals;
    let mut walks = [Walk::of(first), Walk::of(first.and(others))];
    let mut end = BUCKETS;
    while end > 0 {
        let (mut ranges, mut together) = (Vec::new(), 0);
        while end > 0 && together < passes.together {
            let (buckets, count, crowded) = passes.next_range(&sizes, end);
            end = buckets.start;
            together += count;
            if count > 0 {
                ranges.push((buckets, crowded));
            }
        }
        let found = ranges
            .into_par_iter()
            .map_init(Counters::default, |counters, (buckets, crowded)| {
                if crowded {
                    counters.steps(source, slices, &buckets)
                } else {
                    range(source, slices, &buckets)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        for step in found.iter().flatten() {
            let [first, others] = step.0;
            walks[0].add(first);
            walks[1].add(first.and(others));
        }
    }
    Ok(walks.map(|walk| walk.ranking()))
}

/// How the keys of a source are shared out to passes over it.
#[derive(Debug, Clone, Copy)]
struct Passes {
    /// Most keys that one gathers.
    keys: u64,
    /// Buckets of more keys are counted, not sorted.
    crowd: u64,
    /// Most buckets that are counted in one pass: to find where they lie in each run costs as much as to count them.
    counted: usize,
    /// Keys from which on no further pass is made beside those chosen.
    together: u64,
}

impl Passes {
    /// Of a source on disk: one after the other, each as long as fits.
    const fn few(keys: u64) -> Self {
        Self {
            keys,
            crowd: keys,
            counted: 1,
            together: 1,
        }
    }

    fn free() -> Self {
        Self {
            keys: KEYS_AT_HAND,
            crowd: CROWD,
            counted: COUNTED_BUCKETS,
            together: KEYS_AT_HAND * rayon::current_num_threads() as u64,
        }
    }

    /// The longest range of buckets below `end` that is gathered or counted in one pass, at least one bucket; with its
    /// number of keys, and whether they are counted.
    fn next_range(self, sizes: &[u64], end: usize) -> (Range<usize>, u64, bool) {
        let mut start = end - 1;
        let mut keys = sizes[start];
        let crowded = keys > self.crowd;
        while start > 0 && (sizes[start - 1] > self.crowd) == crowded {
            let fits = match crowded {
                true => end - start < self.counted,
                false => keys + sizes[start - 1] <= self.keys,
            };
            if !fits {
                break;
            }
            start -= 1;
            keys += sizes[start];
        }
        (start..end, keys, crowded)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    positives: u64,
    negatives: u64,
}

impl Totals {
    fn add(&mut self, run: &[u32]) {
        let positives = run.iter().map(|key| u64::from(key & 1)).sum::<u64>();
        self.positives += positives;
        self.negatives += run.len() as u64 - positives;
    }

    const fn and(self, other: Self) -> Self {
        Self {
            positives: self.positives + other.positives,
            negatives: self.negatives + other.negatives,
        }
    }
}

/// Pixels of one kind of slices that lie between one score and the next higher one that has anomalous pixels.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Other pixels strictly between.
    above: u64,
    /// Other pixels of that score.
    tied: u64,
    positives: u64,
}

impl Count {
    const fn and(self, other: Self) -> Self {
        Self {
            above: self.above + other.above,
            tied: self.tied + other.tied,
            positives: self.positives + other.positives,
        }
    }
}

/// One score that has anomalous pixels, or what is left below the last.
#[derive(Debug, Clone, Copy, Default)]
struct Step(Kinds<Count>);

/// Steps from the highest score down, formed tie by tie.
#[derive(Debug, Default)]
struct Steps {
    found: Vec<Step>,
    above: Kinds<u64>,
}

impl Steps {
    fn add_tie(&mut self, positives: Kinds<u64>, negatives: Kinds<u64>) {
        if positives == [0, 0] {
            self.above[0] += negatives[0];
            self.above[1] += negatives[1];
            return;
        }
        let above = std::mem::take(&mut self.above);
        self.found.push(Step([0, 1].map(|kind| Count {
            above: above[kind],
            tied: negatives[kind],
            positives: positives[kind],
        })));
    }

    fn end(mut self) -> Vec<Step> {
        if self.above != [0, 0] {
            self.found.push(Step(self.above.map(|above| Count {
                above,
                ..Count::default()
            })));
        }
        self.found
    }
}

/// Gathers the keys of a range of buckets, sorts them and walks them down.
fn range<S: RunSource + ?Sized>(
    source: &S,
    slices: Kinds<&[usize]>,
    buckets: &Range<usize>,
) -> Result<Vec<Step>, S::Error> {
    let mut gathered = <Kinds<Vec<u32>>>::default();
    for (slices, keys) in slices.iter().zip(&mut gathered) {
        source.visit_runs(slices, &mut |_, run| {
            keys.extend_from_slice(part_in(run, buckets));
        })?;
        radsort::sort(keys);
    }
    let [first, others] = &gathered;
    Ok(steps_of(first, others))
}

/// The steps of two sorted lists of keys.
fn steps_of(first: &[u32], others: &[u32]) -> Vec<Step> {
    if others.iter().any(|key| key & 1 == 1) {
        return steps_of_both(first, others);
    }
    // Slices without a lesion have no anomalous pixel: what lies between those of the first list is only counted. Within
    // a tie the anomalous pixels have the higher keys.
    let mut steps = Vec::new();
    let (mut first, mut others) = (first, others);
    while !first.is_empty() || !others.is_empty() {
        let above = last_while(&mut first, |key| key & 1 == 0);
        let Some(top) = first.last().copied() else {
            let above = [above, others.len() as u64];
            others = &[];
            steps.push(Step(above.map(|above| Count {
                above,
                ..Count::default()
            })));
            continue;
        };
        let positives = last_while(&mut first, |key| key == top);
        let tied = last_while(&mut first, |key| key == top - 1);
        let others_above = last_while(&mut others, |key| key > top);
        let others_tied = last_while(&mut others, |key| key == top - 1);
        steps.push(Step([
            Count {
                above,
                tied,
                positives,
            },
            Count {
                above: others_above,
                tied: others_tied,
                positives: 0,
            },
        ]));
    }
    steps
}

/// The same where both lists have anomalous pixels.
fn steps_of_both(first: &[u32], others: &[u32]) -> Vec<Step> {
    let mut steps = Steps::default();
    let mut left = [first, others];
    while let Some(top) = left.iter().filter_map(|keys| keys.last()).max() {
        let lowest = *top & !1;
        let (mut positives, mut negatives) = ([0; 2], [0; 2]);
        for kind in 0..2 {
            while let Some((key, rest)) = left[kind].split_last()
                && *key >= lowest
            {
                positives[kind] += u64::from(key & 1);
                negatives[kind] += u64::from(!key & 1);
                left[kind] = rest;
            }
        }
        steps.add_tie(positives, negatives);
    }
    steps.end()
}

/// Average precision of two sorted lists of keys: of the first, and of both together.
pub(super) fn average_precisions(first: &[u32], others: &[u32]) -> [Option<f64>; 2] {
    let mut sums = [PrecisionSum::default(); 2];
    for Step([first, others]) in steps_of(first, others) {
        for (sum, count) in sums.iter_mut().zip([first, first.and(others)]) {
            sum.add_tie(count.positives, count.above + count.tied);
        }
    }
    sums.map(|sum| sum.average())
}

/// A count of each key of some buckets, label 0 beside label 1, from the lowest score up; made once for many of them.
#[derive(Debug, Default)]
struct Counters(Kinds<Vec<[u64; 2]>>);

impl Counters {
    /// The steps of buckets that are counted key by key: with many keys, or with more than can be gathered (a map with one
    /// value over most of the image).
    fn steps<S: RunSource + ?Sized>(
        &mut self,
        source: &S,
        slices: Kinds<&[usize]>,
        buckets: &Range<usize>,
    ) -> Result<Vec<Step>, S::Error> {
        let first_key = buckets.start * KEYS_IN_BUCKET;
        for (slices, counts) in slices.iter().zip(&mut self.0) {
            counts.clear();
            counts.resize(buckets.len() * KEYS_IN_BUCKET / 2, [0; 2]);
            source.visit_runs(slices, &mut |_, run| {
                for key in part_in(run, buckets) {
                    let key = *key as usize - first_key;
                    counts[key / 2][key % 2] += 1;
                }
            })?;
        }
        let [first, others] = &self.0;
        let mut steps = Steps::default();
        for ([n0, p0], [n1, p1]) in first.iter().zip(others).rev() {
            steps.add_tie([*p0, *p1], [*n0, *n1]);
        }
        Ok(steps.end())
    }
}

/// The part of a sorted run that lies in a range of buckets.
fn part_in<'a>(run: &'a [u32], buckets: &Range<usize>) -> &'a [u32] {
    let bucket = |key: &u32| (key >> BUCKET_BITS) as usize;
    let from = run.partition_point(|key| bucket(key) < buckets.start);
    let to = from + run[from..].partition_point(|key| bucket(key) < buckets.end);
    &run[from..to]
}

#[cfg(test)]
mod tests;
