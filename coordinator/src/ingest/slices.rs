//! Which slices of a volume are kept.

use std::ops::RangeInclusive;

/// A slice whose pixel sum of the modality mean is not above this is empty (as the public implementation has it).
const EMPTY: f64 = 0.5;

/// From the first to the last slice that is not empty; empty slices between are kept. `sums` holds, for each slice,
/// the sum over its pixels of the mean over modalities, after division by the percentile and before resizing.
pub fn kept_range(sums: &[f64]) -> Option<RangeInclusive<usize>> {
    let first = sums.iter().position(|sum| *sum > EMPTY)?;
    let last = sums.iter().rposition(|sum| *sum > EMPTY)?;
    Some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_slices_between_are_kept() {
        assert_eq!(kept_range(&[0.0, 0.5, 0.6, 0.0, 9.0, 0.1]), Some(2..=4));
        assert_eq!(kept_range(&[0.0, 0.5]), None);
        assert_eq!(kept_range(&[]), None);
    }
}
