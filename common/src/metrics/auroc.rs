//! Area under the ROC curve (AUROC): how well one number a slice tells unhealthy from healthy slices.
//!
//! It is the share of pairs of an unhealthy and a healthy slice in which the unhealthy one has the higher score, a tie
//! counting half (midranks). Pairs are counted in integers, so the order of the slices changes no bit.

use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// The higher, the more a slice looks unhealthy.
    pub score: f32,
    pub unhealthy: bool,
    pub patient: u32,
}

/// AUROC of the cases; `None` where one kind of slice is absent or a score is NaN.
pub fn auroc(cases: &[Case]) -> Option<f64> {
    let patients = cases.iter().map(|case| case.patient).collect();
    RankedCases::new(cases, &patients)?.area(&vec![1; patients.len()])
}

/// Cases in ascending order of their scores, each with the place of its patient.
#[derive(Debug)]
pub(super) struct RankedCases(Vec<Ranked>);

#[derive(Debug, Clone, Copy)]
struct Ranked {
    score: f32,
    unhealthy: bool,
    place: usize,
}

impl RankedCases {
    /// Ranks cases of `patients`, whose places are those in the set; `None` where a score is NaN.
    pub(super) fn new(cases: &[Case], patients: &BTreeSet<u32>) -> Option<Self> {
        if cases.iter().any(|case| case.score.is_nan()) {
            return None;
        }
        let patients: Vec<u32> = patients.iter().copied().collect();
        let mut ranked: Vec<Ranked> = cases
            .iter()
            .filter_map(|case| {
                Some(Ranked {
                    score: case.score,
                    unhealthy: case.unhealthy,
                    place: patients.binary_search(&case.patient).ok()?,
                })
            })
            .collect();
        ranked.sort_by(|a, b| a.score.total_cmp(&b.score));
        Some(Self(ranked))
    }

    /// AUROC when the patient at each place counts as often as `times` says.
    pub(super) fn area(&self, times: &[u32]) -> Option<f64> {
        let (mut unhealthy, mut healthy) = (0_u64, 0_u64);
        // Twice the pairs in the right order, so that half a pair is a whole number.
        let mut doubled = 0_u128;
        // By `==`, so that -0 and 0 are a tie; they are neighbours in the total order.
        for tie in self.0.chunk_by(|a, b| a.score == b.score) {
            let (mut above, mut below) = (0_u64, 0_u64);
            for case in tie {
                let count = u64::from(times[case.place]);
                if case.unhealthy {
                    above += count;
                } else {
                    below += count;
                }
            }
            doubled += u128::from(above) * u128::from(2 * healthy + below);
            unhealthy += above;
            healthy += below;
        }
        let pairs = u128::from(unhealthy) * u128::from(healthy);
        (pairs > 0).then(|| doubled as f64 / (2 * pairs) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(scores: &[f32], unhealthy: &[u8]) -> Vec<Case> {
        scores
            .iter()
            .zip(unhealthy)
            .zip(0..)
            .map(|((score, unhealthy), patient)| Case {
                score: *score,
                unhealthy: *unhealthy != 0,
                patient,
            })
            .collect()
    }

    fn area(scores: &[f32], unhealthy: &[u8]) -> Option<f64> {
        auroc(&cases(scores, unhealthy))
    }

    /// scikit-learn 1.9.1 `roc_auc_score`; scipy 1.17.1 `rankdata` gives the midranks 2, 6, 4, 8.5, 6, 6, 3, 10, 8.5, 1,
    /// of which the unhealthy ones add up to 31.5, less 15 and over 25 pairs.
    #[test]
    fn ties_count_half_as_midranks_do() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.2, 0.9, 0.8, 0.05];
        let unhealthy = [0, 1, 0, 1, 1, 0, 0, 1, 0, 1];
        assert_eq!(area(&scores, &unhealthy), Some(0.66));
        assert_eq!(area(&[1.0; 4], &[0, 1, 1, 0]), Some(0.5));
        assert_eq!(area(&[-0.0, 0.0], &[0, 1]), Some(0.5));
        assert_eq!(area(&[-2.0, f32::INFINITY], &[0, 1]), Some(1.0));
        assert_eq!(area(&[2.0, -1.0], &[0, 1]), Some(0.0));
    }

    /// The same library on 200 slices of few distinct scores, and with `sample_weight` 0 to 3.
    #[test]
    fn many_ties_and_patients_drawn_several_times() {
        let mut state = 12_345_u64;
        let mut next = || {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            state >> 16
        };
        let cases: Vec<Case> = (0..200)
            .map(|index| {
                let unhealthy = next() % 10 < 3;
                Case {
                    score: (next() % 7) as f32 + if unhealthy { 2.0 } else { 0.0 },
                    unhealthy,
                    patient: index % 4,
                }
            })
            .collect();
        assert_eq!(cases.iter().filter(|case| case.unhealthy).count(), 59);
        let close = |found: Option<f64>, want: f64| (found.unwrap() - want).abs() < 1e-15;
        assert!(close(auroc(&cases), 0.780_382_257_482_870_5));
        let negated: Vec<Case> = cases
            .iter()
            .map(|case| Case {
                score: -case.score,
                ..*case
            })
            .collect();
        assert!(close(auroc(&negated), 0.219_617_742_517_129_46));
        let ranked = RankedCases::new(&cases, &BTreeSet::from([0, 1, 2, 3])).unwrap();
        assert!(close(ranked.area(&[0, 1, 2, 3]), 0.800_040_203_025_277_7));
    }

    #[test]
    fn one_kind_or_a_nan_has_no_area() {
        assert_eq!(auroc(&[]), None);
        assert_eq!(area(&[0.1, 0.2], &[1, 1]), None);
        assert_eq!(area(&[0.1, 0.2], &[0, 0]), None);
        assert_eq!(area(&[0.1, f32::NAN], &[0, 1]), None);
    }
}
