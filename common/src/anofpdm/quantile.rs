//! Algorithm 1: the quantile that thresholds a map, and the level it is taken at.
//!
//! [`QuantileLevels`] is its `range`, [`QuantileLevels::select`] its `M_s` and `index`, [`quantile()`] its last line.

use crate::semantics::LevelIndex;

/// Number of quantile levels of Algorithm 1.
pub const LEVELS: usize = 101;
/// The lowest level, `a` of Algorithm 1: the largest anomalies.
const LOWEST: f32 = 0.90;
/// The highest level, `b` of Algorithm 1: the smallest anomalies.
const HIGHEST: f32 = 0.98;

/// Quantile `q` in 0..=1 of `values`, interpolated linearly between neighbours in f32.
///
/// The same operations in the same order as `torch.quantile`, so a threshold computed here separates the
/// same pixels. NaN when any value is NaN, when `q` is NaN or when there is no value.
pub fn quantile(values: &[f32], q: f32) -> f32 {
    if values.is_empty() || q.is_nan() || values.iter().any(|value| value.is_nan()) {
        return f32::NAN;
    }
    let last = values.len() - 1;
    let rank = q.clamp(0.0, 1.0) * last as f32;
    let below = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    let mut order = values.to_vec();
    let (_, &mut lower, rest) = order.select_nth_unstable_by(below, f32::total_cmp);
    if weight == 0.0 {
        return lower;
    }
    // The next value in order is the smallest of those behind; past the end there is only the last.
    let upper = rest.iter().copied().min_by(f32::total_cmp).unwrap_or(lower);
    interpolate(lower, upper, weight)
}

/// Linear interpolation that starts from the nearer end, as `torch.lerp` does.
fn interpolate(lower: f32, upper: f32, weight: f32) -> f32 {
    if weight < 0.5 {
        lower + weight * (upper - lower)
    } else {
        upper - (upper - lower) * (1.0 - weight)
    }
}

/// `count` evenly spaced f32 values from `start` to `end`, both included, as `torch.linspace` gives them:
/// each half is counted from its own end.
pub(crate) fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count < 2 {
        return vec![start; count];
    }
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|index| {
            if index < count / 2 {
                start + step * index as f32
            } else {
                end - step * (count - 1 - index) as f32
            }
        })
        .collect()
}

/// A level and its place in the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileLevel {
    /// Index into [`QuantileLevels::table`].
    pub index: u8,
    pub level: f32,
}

/// The table of quantile levels of Algorithm 1: 101 levels from 0.98 (index 0) down to 0.90 (index 100).
///
/// A large divergence means a large anomaly, hence a low level and a large mask.
#[derive(Debug, Clone)]
pub struct QuantileLevels {
    table: Vec<f32>,
}

impl Default for QuantileLevels {
    fn default() -> Self {
        let mut table = linspace(LOWEST, HIGHEST, LEVELS);
        table.reverse();
        Self { table }
    }
}

impl QuantileLevels {
    /// All levels, 0.98 first.
    pub fn table(&self) -> &[f32] {
        &self.table
    }

    /// Algorithm 1 up to the level: that for `divergence` = M_te of a slice when the validation slices reached
    /// `max_divergence` = M_max.
    ///
    /// See [`divergence_ratio`] for what happens when either is degenerate.
    pub fn select(&self, divergence: f32, max_divergence: f32, rule: LevelIndex) -> QuantileLevel {
        // M_s and index of Algorithm 1.
        let index = level_index(divergence_ratio(divergence, max_divergence), rule);
        QuantileLevel {
            index: u8::try_from(index).unwrap_or(u8::MAX),
            level: self.table[index],
        }
    }
}

/// `M_te / M_max` clamped to 0..=1.
///
/// When the quotient is not a number (both 0, as without guidance, or one of them NaN) nothing is known about
/// the size of the anomaly and the ratio is 0: the highest level, the smallest mask. A positive divergence
/// over `M_max = 0` is larger than anything seen and gives 1.
pub fn divergence_ratio(divergence: f32, max_divergence: f32) -> f32 {
    let ratio = divergence / max_divergence;
    if ratio.is_nan() {
        0.0
    } else {
        ratio.clamp(0.0, 1.0)
    }
}

/// The index into [`QuantileLevels`] for a ratio in 0..=1 (clamped; NaN counts as 0).
///
/// [`LevelIndex::Rounded`] rounds 100 times the ratio, formed without rounding error. [`LevelIndex::TruncatedFloat32`]
/// rounds to two digits in float32 (ties to even), multiplies by 100 and truncates, which makes 52 of 0.53 and 58
/// of 0.59.
pub fn level_index(ratio: f32, rule: LevelIndex) -> usize {
    let ratio = if ratio.is_nan() {
        0.0
    } else {
        ratio.clamp(0.0, 1.0)
    };
    match rule {
        LevelIndex::Rounded => (f64::from(ratio) * 100.0).round_ties_even() as usize,
        LevelIndex::TruncatedFloat32 => {
            let two_digits = (ratio * 100.0).round_ties_even() / 100.0;
            (two_digits * 100.0) as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn truncation_loses_one_at_two_ratios_only() {
        let differing: Vec<usize> = (0..=100)
            .filter(|percent| {
                let ratio = *percent as f32 / 100.0;
                level_index(ratio, LevelIndex::TruncatedFloat32) != *percent
            })
            .collect();
        assert_eq!(differing, [53, 59]);
        assert!((0..=100).all(|p| level_index(p as f32 / 100.0, LevelIndex::Rounded) == p));
    }

    #[test]
    fn degenerate_divergences_have_a_stated_level() {
        let levels = QuantileLevels::default();
        let level = |m, m_max| levels.select(m, m_max, LevelIndex::Rounded).level;
        assert_eq!(level(0.0, 0.0), 0.98);
        assert_eq!(level(f32::NAN, 1.0), 0.98);
        assert_eq!(level(1.0, f32::NAN), 0.98);
        assert_eq!(level(1.0, 0.0), 0.90);
        assert_eq!(level(7.0, 1.0), 0.90);
    }

    #[test]
    fn nan_and_nothing_give_nan() {
        assert!(quantile(&[], 0.5).is_nan());
        assert!(quantile(&[1.0, f32::NAN], 0.5).is_nan());
        assert!(quantile(&[1.0], f32::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn selection_agrees_with_a_full_sort(
            values in prop::collection::vec(-1e3_f32..1e3, 1..200),
            q in 0.0_f32..=1.0,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            let rank = q * (values.len() - 1) as f32;
            let lower = sorted[rank.floor() as usize];
            let upper = sorted[rank.ceil() as usize];
            prop_assert_eq!(quantile(&values, q), interpolate(lower, upper, rank - rank.floor()));
        }
    }
}
