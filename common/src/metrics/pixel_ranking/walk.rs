//! The sums that a walk from the highest score down forms.

use super::super::average_precision::PrecisionSum;
use super::{Count, PixelRanking, Totals};

/// One set-up's pixels, walked from the highest score down.
#[derive(Debug)]
pub(super) struct Walk {
    totals: Totals,
    precision: PrecisionSum,
    tie_bounds: TieBounds,
    /// Twice the pairs in the right order, so that half a pair is a whole number.
    doubled_pairs: u128,
    /// False positives at the first threshold that finds 95 %.
    at_95: Option<u64>,
}

impl Walk {
    pub(super) fn of(totals: Totals) -> Self {
        Self {
            totals,
            precision: PrecisionSum::default(),
            tie_bounds: TieBounds::default(),
            doubled_pairs: 0,
            at_95: None,
        }
    }

    pub(super) fn add(&mut self, count: Count) {
        if count.positives == 0 {
            self.precision.add_tie(0, count.above + count.tied);
            return;
        }
        let higher = self.precision.false_positives + count.above;
        let lower = self.totals.negatives - higher - count.tied;
        self.doubled_pairs += u128::from(count.positives) * u128::from(2 * lower + count.tied);
        self.tie_bounds
            .add_tie(count, self.precision.true_positives, higher);
        self.precision
            .add_tie(count.positives, count.above + count.tied);
        let found = u128::from(self.precision.true_positives);
        if self.at_95.is_none() && 20 * found >= 19 * u128::from(self.totals.positives) {
            self.at_95 = Some(self.precision.false_positives);
        }
    }

    pub(super) fn ranking(&self) -> PixelRanking {
        let Totals {
            positives,
            negatives,
        } = self.totals;
        let pairs = u128::from(positives) * u128::from(negatives);
        PixelRanking {
            average_precision: self.precision.average(),
            tie_bounds: self
                .precision
                .average()
                .map(|average| self.tie_bounds.around(average, positives)),
            auroc: (pairs > 0).then(|| self.doubled_pairs as f64 / (2 * pairs) as f64),
            fpr_at_95_tpr: self
                .at_95
                .filter(|_| negatives > 0)
                .map(|count| count as f64 / negatives as f64),
        }
    }
}

/// Sums of precision with the pixels of each score ordered worst and best.
#[derive(Debug, Clone, Copy, Default)]
struct TieBounds {
    lower: f64,
    upper: f64,
}

impl TieBounds {
    /// Takes in one score, after so many anomalous and other pixels above it. The i-th anomalous one is found with at
    /// least i of them and at most all of the others, and with at most all of them and none of the others.
    fn add_tie(&mut self, count: Count, true_positives: u64, higher: u64) {
        let all_false = higher + count.tied;
        if count.tied == 0 && count.positives == 1 {
            let precision = (true_positives + 1) as f64 / (true_positives + 1 + higher) as f64;
            self.lower += precision;
            self.upper += precision;
            return;
        }
        let last = true_positives + count.positives;
        for found in true_positives + 1..=last {
            self.lower += found as f64 / (found + all_false) as f64;
        }
        self.upper += count.positives as f64 * last as f64 / (last + higher) as f64;
    }

    /// The bounds about the `average` of so many anomalous pixels. Sums may be off by half a unit in the last place for
    /// each addition; the bounds give way by that much, and never leave the average out.
    fn around(&self, average: f64, positives: u64) -> [f64; 2] {
        if positives == 0 {
            return [average, average];
        }
        let rounding = 2.0 * f64::EPSILON * positives as f64;
        let count = positives as f64;
        [
            (self.lower / count - rounding).max(0.0).min(average),
            (self.upper / count + rounding).min(1.0).max(average),
        ]
    }
}
