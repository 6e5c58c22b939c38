//! Whether rows differ: all pairs of rows of a set-up over the same patients.

use std::collections::BTreeMap;

use anofpdm_common::metrics::bootstrap::interval;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::statistics::{holm, sign_flip, signed_rank};
use rayon::prelude::*;

use super::measured::{BOOTSTRAP_SEED, Measured};
use crate::report::statistics::{Comparison, Metric, Paired, RowId, Test};

/// Rows of a set-up whose pairs are all compared; of more, each with the best one.
pub(super) const MOST_ROWS: usize = 24;
/// Adjusted p below which rows are said to differ.
pub(super) const LEVEL: f64 = 0.05;

/// The rows of one set-up by one metric, with the value of every patient that all of them have.
pub(super) struct Compared<'a> {
    pub(super) rows: Vec<&'a Measured>,
    pub(super) patients: Vec<u32>,
    /// `[row][patient]`: mean over the patient's slices and over seeds; of AUPRC that of all their pixels.
    pub(super) values: Vec<Vec<f64>>,
}

impl<'a> Compared<'a> {
    pub(super) fn new(rows: &[&'a Measured], setup: Setup, metric: Metric) -> Self {
        let rows: Vec<&Measured> = rows
            .iter()
            .copied()
            .filter(|measured| measured.row.setup == setup)
            .collect();
        let of_rows: Vec<BTreeMap<u32, f64>> = rows
            .iter()
            .map(|measured| match metric {
                Metric::Dice => {
                    let sums = measured.dice.iter();
                    sums.map(|(patient, (sum, count))| (*patient, sum / *count as f64))
                        .collect()
                }
                Metric::Auprc => measured.patients.auprc.clone(),
            })
            .collect();
        let in_all = |patient: &u32| of_rows.iter().all(|row| row.contains_key(patient));
        let patients: Vec<u32> = of_rows
            .first()
            .map(|row| row.keys().copied().filter(in_all).collect())
            .unwrap_or_default();
        let values = of_rows
            .iter()
            .map(|row| patients.iter().map(|patient| row[patient]).collect())
            .collect();
        Self {
            rows,
            patients,
            values,
        }
    }

    /// First less second, patient by patient.
    pub(super) fn differences(&self, first: usize, second: usize) -> Vec<f64> {
        let pairs = self.values[first].iter().zip(&self.values[second]);
        pairs.map(|(a, b)| a - b).collect()
    }

    /// Pairs of rows to compare.
    fn pairs(&self, metric: Metric) -> Vec<(usize, usize)> {
        let count = self.rows.len();
        if count <= MOST_ROWS {
            return (0..count)
                .flat_map(|first| (first + 1..count).map(move |second| (first, second)))
                .collect();
        }
        let number = |row: &usize| mean(self.rows[*row], metric).unwrap_or(f64::NEG_INFINITY);
        let best = (0..count).reduce(|a, b| if number(&b) > number(&a) { b } else { a });
        let best = best.unwrap_or(0);
        (0..count)
            .filter(|row| *row != best)
            .map(|row| (best, row))
            .collect()
    }
}

/// The number in the table.
pub(super) fn mean(measured: &Measured, metric: Metric) -> Option<f64> {
    match metric {
        Metric::Dice => measured.row.dice.mean,
        Metric::Auprc => measured.row.auprc.mean,
    }
}

/// That number in each bootstrap resample.
pub(super) fn draws(measured: &Measured, metric: Metric) -> &[f64] {
    match metric {
        Metric::Dice => &measured.draws.dice,
        Metric::Auprc => &measured.draws.auprc,
    }
}

pub(super) fn id(measured: &Measured) -> RowId {
    RowId {
        method: measured.row.method.clone(),
        guidance: measured.row.guidance,
    }
}

/// The pairs of each set-up and metric that has some.
pub(super) fn paired(rows: &[&Measured]) -> Vec<Paired> {
    let mut found = Vec::new();
    for setup in Setup::ALL {
        for metric in Metric::ALL {
            let compared = Compared::new(rows, setup, metric);
            if compared.rows.len() > 1 && !compared.patients.is_empty() {
                found.push(of_setup(&compared, setup, metric));
            }
        }
    }
    found
}

fn of_setup(compared: &Compared<'_>, setup: Setup, metric: Metric) -> Paired {
    let pairs = compared.pairs(metric);
    let mut comparisons: Vec<Comparison> = pairs
        .par_iter()
        .filter_map(|&(first, second)| compare(compared, metric, first, second))
        .collect();
    for part in [
        (|comparison| &mut comparison.sign_flip) as fn(&mut Comparison) -> &mut Test,
        |comparison| &mut comparison.signed_rank,
    ] {
        let p: Vec<f64> = comparisons.iter_mut().map(|one| part(one).p).collect();
        for (comparison, adjusted) in comparisons.iter_mut().zip(holm(&p)) {
            part(comparison).adjusted_p = adjusted;
        }
    }
    let patients = compared.patients.len();
    let smallest_p = sign_flip::smallest_p(patients);
    let smallest_adjusted_p = (smallest_p * comparisons.len() as f64).min(1.0);
    let too_few = smallest_adjusted_p > LEVEL;
    Paired {
        setup,
        metric,
        patients,
        smallest_p,
        smallest_adjusted_p,
        note: too_few.then(|| {
            format!("too few patients to test: the smallest reachable p is {smallest_adjusted_p:.2} after Holm")
        }),
        comparisons,
    }
}

fn compare(
    compared: &Compared<'_>,
    metric: Metric,
    first: usize,
    second: usize,
) -> Option<Comparison> {
    let differences = compared.differences(first, second);
    let flip = sign_flip::sign_flip(&differences, BOOTSTRAP_SEED)?;
    let rank = signed_rank::signed_rank(&differences)?;
    let count = |which: fn(&f64) -> bool| differences.iter().filter(|d| which(d)).count();
    let (better, worse) = (count(|d| *d > 0.0), count(|d| *d < 0.0));
    let [one, other] = [first, second].map(|row| compared.rows[row]);
    let drawn = draws(one, metric).iter().zip(draws(other, metric));
    let drawn: Vec<f64> = drawn.map(|(a, b)| a - b).collect();
    Some(Comparison {
        first: id(one),
        second: id(other),
        difference: mean(one, metric)
            .zip(mean(other, metric))
            .map(|(a, b)| a - b),
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
