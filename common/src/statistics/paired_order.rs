//! The signed rank test on bootstrap samples of patients, fast: the order of the differences is found once.

use super::signed_rank::normal_p;

/// The differences of one pair of rows, one a patient, in the order of their size.
#[derive(Debug, Clone)]
pub struct PairedOrder {
    /// Groups of equal size, smallest first.
    groups: Vec<Group>,
}

#[derive(Debug, Clone)]
struct Group {
    zero: bool,
    /// Places of the patients, and whether their difference is positive.
    patients: Vec<(usize, bool)>,
}

impl PairedOrder {
    pub fn new(differences: &[f64]) -> Self {
        let size = |place: &usize| differences[*place].abs();
        let mut order: Vec<usize> = (0..differences.len()).collect();
        order.sort_by(|a, b| size(a).total_cmp(&size(b)));
        let groups = order
            .chunk_by(|a, b| size(a) == size(b))
            .map(|tie| Group {
                zero: differences[tie[0]] == 0.0,
                patients: tie
                    .iter()
                    .map(|place| (*place, differences[*place] > 0.0))
                    .collect(),
            })
            .collect();
        Self { groups }
    }

    /// Two-sided p by the normal approximation, and whether the differences are positive on the whole, when the patient
    /// at each place counts as often as `times` says.
    ///
    /// # Panics
    /// When `times` is shorter than the differences.
    pub fn test(&self, times: &[u32]) -> (f64, bool) {
        let (mut before, mut positive, mut all) = (0_usize, 0.0, 0.0);
        let mut ties = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let (mut count, mut above) = (0_usize, 0_usize);
            for (place, is_positive) in &group.patients {
                let times = times[*place] as usize;
                count += times;
                if *is_positive {
                    above += times;
                }
            }
            if !group.zero {
                let rank = before as f64 + (count as f64 + 1.0) / 2.0;
                positive += rank * above as f64;
                all += rank * count as f64;
                ties.push(count);
            }
            before += count;
        }
        (
            normal_p(positive, before, ties.into_iter()),
            positive > all / 2.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::signed_rank;
    use super::*;

    #[test]
    fn no_difference_is_not_positive() {
        assert_eq!(
            PairedOrder::new(&[0.0; 4]).test(&[1, 2, 0, 1]),
            (1.0, false)
        );
    }

    proptest! {
        /// Each patient written down as often as it was drawn.
        #[test]
        fn it_is_the_test_of_the_sample(
            patients in prop::collection::vec((-5_i8..6, 0_u32..4), 60..90),
        ) {
            let (d, times): (Vec<f64>, Vec<u32>) =
                patients.into_iter().map(|(d, times)| (f64::from(d), times)).unzip();
            let drawn: Vec<f64> = d
                .iter()
                .zip(&times)
                .flat_map(|(d, times)| std::iter::repeat_n(*d, *times as usize))
                .collect();
            prop_assume!(drawn.len() > signed_rank::EXACT_UP_TO);
            let (p, _) = PairedOrder::new(&d).test(&times);
            prop_assert!((p - signed_rank(&drawn).unwrap().p).abs() < 1e-12);
        }
    }
}
