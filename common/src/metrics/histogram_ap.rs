//! Average precision from a histogram of scores, with certified bounds.
//!
//! A bin is a score with its lowest mantissa bits dropped, so bins are as fine as the scores are, wherever they
//! lie. Counts are integers: merging is exact in any order.

use serde::{Deserialize, Serialize};

use super::average_precision::PrecisionSum;

/// How many mantissa bits a bin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// 12 bits: bounds about 1e-4 apart. For sweeps, where no sorted runs are kept.
    Fine,
    /// 8 bits: bounds about 1e-3 apart. For the bootstrap, which draws far wider intervals.
    Coarse,
}

impl Resolution {
    /// Bits of a packed key (score and label) that its bin does not say.
    pub(super) const fn dropped_bits(self) -> u32 {
        match self {
            Self::Fine => 12,
            Self::Coarse => 16,
        }
    }

    /// The lowest score that falls into bin number `index`.
    pub const fn lowest_score(self, index: u32) -> f32 {
        f32::from_bits(index << (self.dropped_bits() - 1))
    }
}

/// Pixels whose scores fall into one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The upper bits of the score: bins order as the scores do.
    pub index: u32,
    /// Anomalous pixels.
    pub positives: u64,
    /// Other pixels.
    pub negatives: u64,
}

/// Occupied bins in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredHistogram")]
pub struct ScoreHistogram {
    resolution: Resolution,
    bins: Vec<Bin>,
}

/// What a file says a histogram is, before it is believed.
#[derive(Deserialize)]
struct StoredHistogram {
    resolution: Resolution,
    bins: Vec<Bin>,
}

/// Bins out of order, or with more pixels than can be counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a score histogram must hold its bins in ascending order, each with 1 to 2^40 pixels")]
pub struct BrokenHistogram;

impl TryFrom<StoredHistogram> for ScoreHistogram {
    type Error = BrokenHistogram;

    fn try_from(stored: StoredHistogram) -> Result<Self, Self::Error> {
        const MOST_PIXELS: u64 = 1 << 40;
        let StoredHistogram { resolution, bins } = stored;
        let counted = |bin: &Bin| {
            bin.positives <= MOST_PIXELS
                && bin.negatives <= MOST_PIXELS
                && bin.positives + bin.negatives > 0
        };
        if bins.is_sorted_by(|a, b| a.index < b.index) && bins.iter().all(counted) {
            Ok(Self { resolution, bins })
        } else {
            Err(BrokenHistogram)
        }
    }
}

/// Bounds that the exact average precision certainly lies in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AveragePrecisionBounds {
    /// Not above the exact value.
    pub lower: f64,
    /// Not below the exact value.
    pub upper: f64,
}

/// Counts of all coarse bins, occupied or not: what runs are added to fastest.
#[derive(Debug)]
pub(super) struct BinCounts {
    /// Other and anomalous pixels of each bin.
    counts: Vec<[u64; 2]>,
    /// Bins that may be occupied.
    bins: std::ops::Range<usize>,
}

impl Default for BinCounts {
    fn default() -> Self {
        Self {
            counts: vec![[0; 2]; 1 << (u32::BITS - Resolution::Coarse.dropped_bits())],
            bins: 0..0,
        }
    }
}

impl BinCounts {
    /// Adds the pixels of a sorted run.
    pub(super) fn add(&mut self, run: &[u32]) {
        let bin = |key: &u32| (key >> Resolution::Coarse.dropped_bits()) as usize;
        let (Some(lowest), Some(highest)) = (run.first().map(bin), run.last().map(bin)) else {
            return;
        };
        if self.bins.is_empty() {
            self.bins = lowest..highest + 1;
        }
        self.bins = self.bins.start.min(lowest)..self.bins.end.max(highest + 1);
        for key in run {
            self.counts[bin(key)][(key & 1) as usize] += 1;
        }
    }

    /// The histogram of what was added, which is forgotten.
    pub(super) fn take(&mut self) -> ScoreHistogram {
        let bins = std::mem::take(&mut self.bins);
        let counts = self.counts[bins.clone()].iter_mut();
        let occupied = (0..).zip(counts).filter(|(_, count)| **count != [0, 0]);
        // There are 65,536 bins.
        let first = u32::try_from(bins.start).unwrap_or(u32::MAX);
        let bins = occupied.map(|(place, count): (u32, _)| {
            let [negatives, positives] = std::mem::take(count);
            Bin {
                index: first + place,
                positives,
                negatives,
            }
        });
        ScoreHistogram {
            resolution: Resolution::Coarse,
            bins: bins.collect(),
        }
    }
}

impl ScoreHistogram {
    pub const fn empty(resolution: Resolution) -> Self {
        Self {
            resolution,
            bins: Vec::new(),
        }
    }

    /// The histogram of a sorted run of packed keys.
    pub fn from_run(run: &[u32], resolution: Resolution) -> Self {
        let mut bins = Vec::new();
        let mut left = run;
        while let Some(first) = left.first() {
            let index = first >> resolution.dropped_bits();
            let (mut positives, mut pixels) = (0, 0);
            for key in left {
                if key >> resolution.dropped_bits() != index {
                    break;
                }
                positives += u64::from(key & 1);
                pixels += 1;
            }
            left = &left[pixels..];
            bins.push(Bin {
                index,
                positives,
                negatives: pixels as u64 - positives,
            });
        }
        Self { resolution, bins }
    }

    /// How fine the bins are.
    pub const fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// Occupied bins in ascending order.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Adds the pixels of `other`.
    ///
    /// # Panics
    /// When the two differ in resolution.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.resolution, other.resolution,
            "histograms of different resolution. This is a bug."
        );
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let mut theirs = other.bins.iter().copied().peekable();
        for mut mine in self.bins.drain(..) {
            while let Some(bin) = theirs.next_if(|bin| bin.index < mine.index) {
                merged.push(bin);
            }
            if let Some(bin) = theirs.next_if(|bin| bin.index == mine.index) {
                mine.positives += bin.positives;
                mine.negatives += bin.negatives;
            }
            merged.push(mine);
        }
        merged.extend(theirs);
        self.bins = merged;
    }

    /// Average precision of the scores as the bins know them, a bin being a tie. Lies within [`Self::bounds`].
    ///
    /// `None` without pixels, 0 without positives.
    pub fn average_precision(&self) -> Option<f64> {
        let mut sum = PrecisionSum::default();
        for bin in self.bins.iter().rev() {
            sum.add_tie(bin.positives, bin.negatives);
        }
        sum.average()
    }

    /// Bounds of the exact average precision.
    ///
    /// The i-th positive of a bin is found with at least i of the bin's positives and at most all of its
    /// negatives (lower bound), and with at most all of its positives and none of its negatives (upper bound).
    /// `None` without pixels, 0 without positives.
    pub fn bounds(&self) -> Option<AveragePrecisionBounds> {
        let positives: u64 = self.bins.iter().map(|bin| bin.positives).sum();
        if self.bins.is_empty() {
            return None;
        }
        if positives == 0 {
            return Some(AveragePrecisionBounds {
                lower: 0.0,
                upper: 0.0,
            });
        }
        let (mut lower, mut upper) = (0.0, 0.0);
        let (mut true_positives, mut false_positives) = (0_u64, 0_u64);
        for bin in self.bins.iter().rev() {
            let all_false = false_positives + bin.negatives;
            for found in true_positives + 1..=true_positives + bin.positives {
                lower += found as f64 / (found + all_false) as f64;
            }
            true_positives += bin.positives;
            if bin.positives > 0 {
                upper += bin.positives as f64 * true_positives as f64
                    / (true_positives + false_positives) as f64;
            }
            false_positives = all_false;
        }
        // Each addition may be off by half a unit in the last place; the bounds give way by that much.
        let rounding = 2.0 * f64::EPSILON * positives as f64;
        Some(AveragePrecisionBounds {
            lower: (lower / positives as f64 - rounding).max(0.0),
            upper: (upper / positives as f64 + rounding).min(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::average_precision::average_precision;
    use super::super::score_run::score_run;
    use super::*;

    fn run(pixels: &[(f32, u8)]) -> Vec<u32> {
        let (scores, labels): (Vec<f32>, Vec<u8>) = pixels.iter().copied().unzip();
        score_run(&scores, &labels, None).unwrap()
    }

    #[test]
    fn nothing_has_no_bounds() {
        let empty = ScoreHistogram::empty(Resolution::Fine);
        assert_eq!(empty.bounds(), None);
        assert_eq!(empty.average_precision(), None);
    }

    #[test]
    fn many_pixels_have_narrow_bounds() {
        // Scores over four decades, as squared errors have; anomalous pixels score higher.
        let pixels: Vec<(f32, u8)> = (0..200_000_u32)
            .map(|i| {
                let label = u8::from(i % 50 == 0);
                let spread = f32::from((i.wrapping_mul(2_654_435_761) >> 16) as u16) / 65_536.0;
                (1e-5 * 10_f32.powf(4.0 * spread + f32::from(label)), label)
            })
            .collect();
        let bounds = |resolution| {
            ScoreHistogram::from_run(&run(&pixels), resolution)
                .bounds()
                .unwrap()
        };
        let width = |bounds: AveragePrecisionBounds| bounds.upper - bounds.lower;
        assert!(width(bounds(Resolution::Fine)) < 1e-3);
        assert!(width(bounds(Resolution::Coarse)) < 1e-2);
    }

    #[test]
    fn a_stored_histogram_is_checked() {
        let histogram = ScoreHistogram::from_run(&run(&[(0.1, 1), (0.2, 0)]), Resolution::Fine);
        let mut json = serde_json::to_value(&histogram).unwrap();
        assert_eq!(
            serde_json::from_value::<ScoreHistogram>(json.clone()).unwrap(),
            histogram
        );
        json["bins"].as_array_mut().unwrap().reverse();
        assert!(serde_json::from_value::<ScoreHistogram>(json).is_err());
    }

    proptest! {
        #[test]
        fn the_exact_value_lies_within(
            pixels in prop::collection::vec((0.9_f32..1.1, 0_u8..2), 1..400),
            fine in any::<bool>(),
        ) {
            let resolution = if fine { Resolution::Fine } else { Resolution::Coarse };
            let run = run(&pixels);
            let exact = average_precision([run.clone()].as_slice(), &[0]).unwrap().unwrap();
            let histogram = ScoreHistogram::from_run(&run, resolution);
            let AveragePrecisionBounds { lower, upper } = histogram.bounds().unwrap();
            prop_assert!(lower <= exact && exact <= upper, "{lower} {exact} {upper}");
            let binned = histogram.average_precision().unwrap();
            prop_assert!(lower <= binned && binned <= upper, "{lower} {binned} {upper}");
        }

        #[test]
        fn merging_is_counting_together(
            pixels in prop::collection::vec((0.0_f32..2.0, 0_u8..2), 0..200),
            cut in 0_usize..200,
        ) {
            let (left, right) = pixels.split_at(cut.min(pixels.len()));
            let histogram = |pixels: &[(f32, u8)]| {
                ScoreHistogram::from_run(&run(pixels), Resolution::Coarse)
            };
            let mut merged = histogram(right);
            merged.merge(&histogram(left));
            prop_assert_eq!(merged, histogram(&pixels));
        }
    }
}
