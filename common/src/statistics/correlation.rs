//! Pearson's and Spearman's correlation.

use super::mid_ranks::doubled_mid_ranks;

/// Pearson's r of pairs; `None` with fewer than three, or where one of the two is constant.
///
/// # Panics
/// When the two differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "pairs need both values. This is a bug.");
    if x.len() < 3 {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (x_mean, y_mean) = (mean(x), mean(y));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - x_mean, y - y_mean);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    let scale = xx.sqrt() * yy.sqrt();
    (scale > 0.0).then(|| (xy / scale).clamp(-1.0, 1.0))
}

/// Spearman's rho: Pearson's r of the mid-ranks.
///
/// # Panics
/// When the two differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let doubled = doubled_mid_ranks(values).into_iter();
        doubled.map(|rank| rank as f64).collect()
    };
    pearson(&ranks(x), &ranks(y))
}

#[cfg(test)]
mod tests {
    use super::super::differences;
    use super::*;

    /// scipy 1.17.1 `pearsonr`, `spearmanr`.
    #[test]
    fn they_are_scipys() {
        let x = differences(12, 1009, 400);
        let y: Vec<f64> = (0..12)
            .map(|i| f64::from((i * 7919 + 110) % 13 - 5) / 8.0)
            .collect();
        let close = |found: Option<f64>, want: f64| (found.unwrap() - want).abs() < 1e-14;
        assert!(close(pearson(&x, &y), 0.471_384_964_122_377_8));
        assert!(close(spearman(&x, &y), 0.510_489_510_489_510_5));
        assert!(close(pearson(&x, &x), 1.0));
    }

    #[test]
    fn two_pairs_or_a_constant_have_none() {
        assert_eq!(pearson(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[5.0; 3]), None);
    }
}
