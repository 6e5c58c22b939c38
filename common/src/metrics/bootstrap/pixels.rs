//! Average precision and AUROC of the pixels of the drawn patients.
//!
//! Ten thousand draws of every patient's pixels are too many to rank them anew, so scores are cut twice. Patients have
//! histograms of 8 bits of the score; their bins are gathered into [`GROUPS`] with as many anomalous pixels each, and a
//! group counts as one score. How a group's pixels are ordered among themselves is taken from the whole sample: without
//! drawing, both numbers are those of the bins.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, Mul};

use super::super::histogram_ap::{Bin, Resolution, ScoreHistogram};
use super::{in_resamples, interval};

pub type PatientHistograms = BTreeMap<u32, ScoreHistogram>;

/// Groups of bins with anomalous pixels; one more holds what lies below them all.
const GROUPS: usize = 256;

/// What the pixels of the drawn patients were worth in each resample, mean over noise seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelDraws {
    /// Average precision; 0 where no anomalous pixel was drawn.
    pub average_precision: Vec<f64>,
    /// NaN where pixels of one kind only were drawn.
    pub auroc: Vec<f64>,
}

impl PixelDraws {
    /// 95 % percentile interval of the average precision.
    pub fn average_precision_interval(&self) -> Option<[f64; 2]> {
        interval(&self.average_precision)
    }

    /// 95 % percentile interval of the AUROC.
    pub fn auroc_interval(&self) -> Option<[f64; 2]> {
        interval(&self.auroc)
    }
}

/// Draws the patients of all of `seeds`, the histograms of one noise seed each; all see the same draws. `None` with
/// fewer than two patients.
pub fn pixel_draws(seeds: &[&PatientHistograms], seed: u64) -> Option<PixelDraws> {
    let patients: BTreeSet<u32> = seeds.iter().flat_map(|one| one.keys().copied()).collect();
    if patients.len() < 2 {
        return None;
    }
    let seeds: Vec<GroupedSeed> = seeds
        .iter()
        .map(|one| GroupedSeed::new(one, &patients))
        .collect();
    let values = in_resamples(patients.len(), seed, |times| {
        let drawn = times.iter().copied().enumerate();
        let drawn: Vec<(usize, u32)> = drawn.filter(|(_, times)| *times > 0).collect();
        let (mut precision, mut area) = (0.0, 0.0);
        for one in &seeds {
            let values = one.values(&drawn);
            precision += values.0;
            area += values.1;
        }
        let seeds = seeds.len() as f64;
        (precision / seeds, area / seeds)
    });
    let (average_precision, auroc) = values.into_iter().unzip();
    Some(PixelDraws {
        average_precision,
        auroc,
    })
}

/// One noise seed: what each patient has in each group, and the order within each.
struct GroupedSeed {
    counts: Counts,
    within: Vec<Within>,
}

/// How the pixels of one group are ordered in the whole sample.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    /// Mean precision of its anomalous pixels less the precision at its end.
    precision: f64,
    /// Share of its pairs of an anomalous and another pixel in the right order, a tie of bins counting half.
    order: f64,
}

impl GroupedSeed {
    fn new(histograms: &PatientHistograms, patients: &BTreeSet<u32>) -> Self {
        let mut whole = ScoreHistogram::empty(Resolution::Coarse);
        for histogram in histograms.values() {
            whole.merge(histogram);
        }
        let (groups, within) = grouped(whole.bins());
        // Two numbers a group: anomalous and other pixels.
        let rows = patients.iter().map(|patient| {
            let mut row = vec![0_u64; 2 * (GROUPS + 1)];
            let bins = histograms
                .get(patient)
                .map_or(&[][..], ScoreHistogram::bins);
            for bin in bins {
                if let Some(group) = groups.get(&bin.index) {
                    row[2 * group] += bin.positives;
                    row[2 * group + 1] += bin.negatives;
                }
            }
            row
        });
        Self {
            counts: Counts::new(&rows.collect::<Vec<_>>()),
            within,
        }
    }

    /// Average precision and AUROC of the patients at these places, each as often as it was drawn.
    fn values(&self, drawn: &[(usize, u32)]) -> (f64, f64) {
        let sums = self.counts.sums(drawn);
        let groups = sums.as_chunks().0;
        let all_negatives: u64 = groups.iter().map(|[_, negatives]| negatives).sum();
        let (mut positives, mut negatives) = (0_u64, 0_u64);
        let (mut precision, mut pairs) = (0.0, 0.0);
        for ([of_group, others], within) in groups.iter().zip(&self.within) {
            positives += of_group;
            negatives += others;
            if *of_group > 0 {
                let at_end = positives as f64 / (positives + negatives) as f64;
                let lower = (all_negatives - negatives) as f64;
                precision += *of_group as f64 * (at_end + within.precision);
                pairs += *of_group as f64 * (lower + within.order * *others as f64);
            }
        }
        let all_pairs = positives as f64 * negatives as f64;
        let area = match all_pairs > 0.0 {
            true => (pairs / all_pairs).clamp(0.0, 1.0),
            false => f64::NAN,
        };
        match positives {
            0 => (0.0, area),
            positives => ((precision / positives as f64).clamp(0.0, 1.0), area),
        }
    }
}

/// The group of each bin, the highest first, and the order within each.
fn grouped(bins: &[Bin]) -> (BTreeMap<u32, usize>, Vec<Within>) {
    let all: u64 = bins.iter().map(|bin| bin.positives).sum();
    let mut groups = BTreeMap::new();
    let (mut positives, mut negatives) = (0_u64, 0_u64);
    let mut found = vec![GroupSums::default(); GROUPS + 1];
    for bin in bins.iter().rev() {
        let group = match all {
            0 => 0,
            all => (u128::from(positives) * GROUPS as u128 / u128::from(all)) as usize,
        };
        groups.insert(bin.index, group);
        positives += bin.positives;
        negatives += bin.negatives;
        let precision = positives as f64 / (positives + negatives) as f64;
        found[group].add(*bin, precision);
    }
    (groups, found.into_iter().map(GroupSums::within).collect())
}

/// A group as its bins are added, the highest first.
#[derive(Debug, Clone, Copy, Default)]
struct GroupSums {
    positives: f64,
    negatives: f64,
    /// Of the precision at each anomalous pixel.
    precision: f64,
    at_end: f64,
    /// Pairs in the right order.
    pairs: f64,
}

impl GroupSums {
    fn add(&mut self, bin: Bin, precision: f64) {
        let (positives, negatives) = (bin.positives as f64, bin.negatives as f64);
        self.pairs += negatives * (self.positives + positives / 2.0);
        self.positives += positives;
        self.negatives += negatives;
        self.precision += positives * precision;
        self.at_end = precision;
    }

    fn within(self) -> Within {
        if self.positives == 0.0 {
            return Within::default();
        }
        let pairs = self.positives * self.negatives;
        Within {
            precision: self.precision / self.positives - self.at_end,
            order: if pairs > 0.0 { self.pairs / pairs } else { 0.5 },
        }
    }
}

/// Numbers that stand beside each other in a block: what the patients of a resample have of them is added at once.
const LANES: usize = 16;

/// Rows of counts, one a patient, cut into blocks of columns.
enum Counts {
    /// Where no sum can pass 32 bits.
    Narrow(Blocks<u32>),
    Wide(Blocks<u64>),
}

/// `[block][row]`, each of some columns.
struct Blocks<T> {
    rows: usize,
    columns: usize,
    blocks: Vec<[T; LANES]>,
}

impl Counts {
    fn new(rows: &[Vec<u64>]) -> Self {
        let largest = rows.iter().flatten().max().copied().unwrap_or(0);
        let narrow = largest
            .checked_mul(rows.len() as u64)
            .is_some_and(|most| u32::try_from(most).is_ok());
        match narrow {
            #[allow(clippy::cast_possible_truncation)]
            true => Self::Narrow(Blocks::new(rows, |count| count as u32)),
            false => Self::Wide(Blocks::new(rows, |count| count)),
        }
    }

    fn sums(&self, drawn: &[(usize, u32)]) -> Vec<u64> {
        match self {
            Self::Narrow(blocks) => blocks.sums(drawn),
            Self::Wide(blocks) => blocks.sums(drawn),
        }
    }
}

impl<T> Blocks<T>
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T> + From<u32> + Into<u64>,
{
    fn new(rows: &[Vec<u64>], number: impl Fn(u64) -> T) -> Self {
        let columns = rows.first().map_or(0, Vec::len);
        let mut blocks = Vec::with_capacity(columns.div_ceil(LANES) * rows.len());
        for first in (0..columns).step_by(LANES) {
            blocks.extend(rows.iter().map(|row| {
                let mut block = [T::default(); LANES];
                for (lane, count) in block.iter_mut().zip(&row[first..]) {
                    *lane = number(*count);
                }
                block
            }));
        }
        Self {
            rows: rows.len(),
            columns,
            blocks,
        }
    }

    fn sums(&self, drawn: &[(usize, u32)]) -> Vec<u64> {
        let mut sums = Vec::with_capacity(self.columns.next_multiple_of(LANES));
        for block in self.blocks.chunks(self.rows.max(1)) {
            let mut sum = [T::default(); LANES];
            for (place, times) in drawn {
                let (counts, times) = (block[*place], T::from(*times));
                // A new array instead of the same one: it stays in registers.
                sum = std::array::from_fn(|lane| sum[lane] + counts[lane] * times);
            }
            sums.extend(sum.map(Into::into));
        }
        sums.truncate(self.columns);
        sums
    }
}
