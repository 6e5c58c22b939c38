//! Whether two results over the same patients differ: the number and its interval, and two tests.

use anofpdm_common::metrics::bootstrap::interval;
use anofpdm_common::statistics::{holm, sign_flip, signed_rank};

use super::measured::BOOTSTRAP_SEED;
use crate::report::statistics::{Comparison, RowId, Test};

/// Adjusted p below which rows are said to differ.
pub(crate) const LEVEL: f64 = 0.05;

/// Differences up to this are of rounding: equal values that were added up over one seed and over three differ in their last
/// digits.
const ROUNDING: f64 = 1e-12;

/// 0 where values differ by rounding alone.
pub(crate) fn beyond_rounding(difference: f64) -> f64 {
    if difference.abs() <= ROUNDING {
        0.0
    } else {
        difference
    }
}

/// A value without the digits in which equal ones may differ, so that they have one rank.
pub(crate) fn rounded(value: f64) -> f64 {
    (value / ROUNDING).round() * ROUNDING
}

/// One of two rows.
pub(crate) struct Side<'a> {
    pub(crate) id: RowId,
    /// The number in the table, and what it was in each bootstrap resample; the resamples of both are the same.
    pub(crate) mean: Option<f64>,
    pub(crate) draws: &'a [f64],
}

/// The first less the second; `differences` are those of the values of each patient. p is not corrected yet. `None`
/// without a patient.
pub(crate) fn difference(
    first: Side<'_>,
    second: Side<'_>,
    differences: &[f64],
) -> Option<Comparison> {
    let differences: Vec<f64> = differences.iter().copied().map(beyond_rounding).collect();
    let flip = sign_flip::sign_flip(&differences, BOOTSTRAP_SEED)?;
    let rank = signed_rank::signed_rank(&differences)?;
    let count = |which: fn(&f64) -> bool| differences.iter().filter(|d| which(d)).count();
    let (better, worse) = (count(|d| *d > 0.0), count(|d| *d < 0.0));
    let drawn = first.draws.iter().zip(second.draws);
    let drawn: Vec<f64> = drawn.map(|(a, b)| beyond_rounding(a - b)).collect();
    Some(Comparison {
        difference: first
            .mean
            .zip(second.mean)
            .map(|(a, b)| beyond_rounding(a - b)),
        first: first.id,
        second: second.id,
        ci95: interval(&drawn),
        patient_difference: differences.iter().sum::<f64>() / differences.len() as f64,
        better,
        worse,
        equal: differences.len() - better - worse,
        sign_flip: Test {
            p: flip.p,
            adjusted_p: flip.p,
            exact: flip.exact,
        },
        signed_rank: Test {
            p: rank.p,
            adjusted_p: rank.p,
            exact: rank.exact,
        },
    })
}

/// Holm's correction for all of these.
pub(crate) fn correct<'a>(comparisons: impl IntoIterator<Item = &'a mut Comparison>) {
    let mut comparisons: Vec<&mut Comparison> = comparisons.into_iter().collect();
    for part in [
        (|comparison| &mut comparison.sign_flip) as fn(&mut Comparison) -> &mut Test,
        |comparison| &mut comparison.signed_rank,
    ] {
        let p: Vec<f64> = comparisons.iter_mut().map(|one| part(one).p).collect();
        for (comparison, adjusted) in comparisons.iter_mut().zip(holm(&p)) {
            part(comparison).adjusted_p = adjusted;
        }
    }
}

/// What so many comparisons of so many patients can find.
pub(crate) struct Reach {
    /// The smallest p that the sign-flip test can have, and the same after Holm's correction.
    pub(crate) smallest_p: f64,
    pub(crate) smallest_adjusted_p: f64,
    /// Why nothing can be found, where that is so.
    pub(crate) note: Option<String>,
}

impl Reach {
    pub(crate) fn of(patients: usize, comparisons: usize) -> Self {
        let smallest_p = sign_flip::smallest_p(patients);
        let smallest_adjusted_p = (smallest_p * comparisons as f64).min(1.0);
        Self {
            smallest_p,
            smallest_adjusted_p,
            note: (smallest_adjusted_p > LEVEL).then(|| {
                format!("too few patients to test: the smallest reachable p is {smallest_adjusted_p:.2} after Holm")
            }),
        }
    }
}
