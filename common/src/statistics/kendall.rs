//! Kendall's tau-b: how far two rankings agree, -1 to 1, corrected for ties (M. G. Kendall, Biometrika 33, 1945).

/// Tau-b of two rankings of the same rows; `None` where all rows of one are tied, or fewer than two are there.
///
/// # Panics
/// When the two differ in length.
pub fn kendall_tau(first: &[f64], second: &[f64]) -> Option<f64> {
    assert_eq!(
        first.len(),
        second.len(),
        "rankings of other rows. This is a bug."
    );
    let (mut agreement, mut first_differs, mut second_differs) = (0_i64, 0_i64, 0_i64);
    for one in 0..first.len() {
        for other in one + 1..first.len() {
            let order = |values: &[f64]| match values[one].partial_cmp(&values[other]) {
                Some(order) => order as i64,
                None => 0,
            };
            let (a, b) = (order(first), order(second));
            agreement += a * b;
            first_differs += a.abs();
            second_differs += b.abs();
        }
    }
    let pairs = first_differs as f64 * second_differs as f64;
    (pairs > 0.0).then(|| agreement as f64 / pairs.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1 `kendalltau`.
    #[test]
    fn ties_count_as_scipy_counts_them() {
        let first = [1.0, 2.0, 2.0, 4.0, 5.0, 6.0, 6.0, 8.0];
        let second = [2.0, 1.0, 2.0, 3.0, 6.0, 5.0, 8.0, 7.0];
        let tau = kendall_tau(&first, &second).unwrap();
        assert!((tau - 0.717_108_788_291_577_3).abs() < 1e-15, "{tau}");
        let down = [4.0, 3.0, 2.0, 1.0];
        assert_eq!(kendall_tau(&[1.0, 2.0, 3.0, 4.0], &down), Some(-1.0));
        assert_eq!(kendall_tau(&down, &[1.0; 4]), None);
        assert_eq!(kendall_tau(&[1.0], &[1.0]), None);
    }
}
