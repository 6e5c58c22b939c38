//! Holm's correction for testing several pairs at once (S. Holm, "A simple sequentially rejective multiple test
//! procedure", Scand. J. Statist. 6, 1979).

/// The adjusted p of each test, in the order given: rejecting those below a level keeps the probability of any false
/// rejection among all of them below it.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (place, index) in order.into_iter().enumerate() {
        let tests_left = (p.len() - place) as f64;
        largest = largest.max((tests_left * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By hand: 5 x 0.005, 4 x 0.01, 3 x 0.03, then 2 x 0.04, which may not be below the one before.
    #[test]
    fn it_is_the_published_procedure() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (got, want) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.025, 0.5]) {
            assert!((got - want).abs() < 1e-15, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.7, 0.6]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn it_keeps_the_order_and_is_never_below_p(
            p in prop::collection::vec(f64::MIN_POSITIVE..=1.0, 0..40),
        ) {
            let adjusted = holm(&p);
            for (one, p_one) in adjusted.iter().zip(&p) {
                prop_assert!(p_one <= one && *one <= 1.0);
                for (other, p_other) in adjusted.iter().zip(&p) {
                    prop_assert!(p_one > p_other || one <= other);
                }
            }
        }
    }
}
