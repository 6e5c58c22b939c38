//! The 99th percentile that a volume is divided by.

/// The `percent`th percentile of the values above 0, with linear interpolation between ranks as numpy's default does.
/// `None` where no value is above 0.
pub fn positive_percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut positive: Vec<f64> = values.iter().copied().filter(|x| *x > 0.0).collect();
    let last = positive.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss)]
    let rank = last as f64 * (percent / 100.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = (rank.floor() as usize).min(last);
    let (_, low, above) = positive.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let fraction = rank - rank.floor();
    // numpy interpolates from the nearer end, which decides the last bit.
    Some(if fraction < 0.5 {
        low + (high - low) * fraction
    } else {
        high - (high - low) * (1.0 - fraction)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_between_ranks_and_ignores_what_is_not_above_zero() {
        // numpy.percentile([1, 2, 3, 4], 99) = 3.97
        let p99 = positive_percentile(&[0.0, 4.0, -7.0, 1.0, 3.0, 2.0, 0.0], 99.0).unwrap();
        assert!((p99 - 3.97).abs() < 1e-15);
        assert_eq!(positive_percentile(&[5.0], 99.0), Some(5.0));
        assert_eq!(positive_percentile(&[0.0, -1.0], 99.0), None);
        assert_eq!(positive_percentile(&[1.0, 3.0], 50.0), Some(2.0));
    }
}
