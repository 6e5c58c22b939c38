//! Whether rows differ: all pairs of rows of a set-up over the same patients.

use std::collections::BTreeMap;

use anofpdm_common::metrics::setup::Setup;
use rayon::prelude::*;

use super::difference::{Reach, Side, correct, difference};
use super::measured::Measured;
use crate::report::statistics::{Comparison, Metric, Paired};

/// Rows of a set-up whose pairs are all compared; of more, each with the best one.
pub(super) const MOST_ROWS: usize = 24;

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
            // A row of another program has masks and no map.
            .filter(|row| row.row.setup == setup && mean(row, metric).is_some())
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
        .filter_map(|&(first, second)| {
            let [one, other] = [first, second].map(|row| {
                let measured = compared.rows[row];
                Side {
                    id: measured.row.id(),
                    mean: mean(measured, metric),
                    draws: draws(measured, metric),
                }
            });
            difference(one, other, &compared.differences(first, second))
        })
        .collect();
    correct(&mut comparisons);
    let patients = compared.patients.len();
    let reach = Reach::of(patients, comparisons.len());
    Paired {
        setup,
        metric,
        patients,
        smallest_p: reach.smallest_p,
        smallest_adjusted_p: reach.smallest_adjusted_p,
        note: reach.note,
        comparisons,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use anofpdm_common::metrics::bootstrap::{PatientSums, mean_draws};

    use super::super::measured::{BOOTSTRAP_SEED, Draws, PatientNumbers};
    use super::*;
    use crate::report::tests::row;

    /// A mixed row whose patients have these values, each of two slices.
    pub(in super::super) fn measured(method: &str, values: &[f64]) -> Measured {
        let patients = (0..).zip(values);
        let dice: PatientSums = patients
            .map(|(patient, v)| (patient, (2.0 * v, 2)))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let draws = mean_draws(&dice, BOOTSTRAP_SEED).unwrap_or_default();
        Measured {
            row: row(method, Setup::Mixed, mean, &[0]),
            dice,
            patients: PatientNumbers::default(),
            draws: Draws {
                dice: draws,
                auprc: Vec::new(),
            },
        }
    }

    #[test]
    fn equal_values_over_other_numbers_of_seeds_do_not_differ() {
        let values: Vec<f64> = (1..8).map(|n| 1.0 / f64::from(3 * n + 1)).collect();
        let mut thrice = measured("thrice", &values);
        for ((sum, count), value) in thrice.dice.values_mut().zip(&values) {
            (*sum, *count) = ((0..6).map(|_| value).sum(), 6);
        }
        thrice.draws.dice = mean_draws(&thrice.dice, BOOTSTRAP_SEED).unwrap();
        let once = measured("once", &values);
        let rows = [&once, &thrice];
        let by_patient = Compared::new(&rows, Setup::Mixed, Metric::Dice).values;
        assert_ne!(by_patient[0], by_patient[1]);
        let found = paired(&rows)[0].comparisons[0].clone();
        assert_eq!((found.better, found.worse, found.equal), (0, 0, 7));
        assert_eq!((found.sign_flip.p, found.signed_rank.p), (1.0, 1.0));
        assert_eq!(found.ci95, Some([0.0, 0.0]));
        for by in &super::super::ranking::rankings(&rows)[0].rankings {
            assert_eq!(by.ranks, [1, 1], "{by:?}");
            assert_eq!(by.shares[0], by.shares[1], "{by:?}");
        }
    }

    /// The better row in six patients of six: 2 / 64 for each of three pairs.
    #[test]
    fn six_patients_are_too_few_for_three_pairs() {
        let base = [0.1, 0.5, 0.3, 0.9, 0.2, 0.6];
        let rows = [0.0, 0.05, 0.08].map(|more| {
            let values: Vec<f64> = base.iter().map(|value| value - more).collect();
            measured(&format!("row-{more}"), &values)
        });
        let rows: Vec<&Measured> = rows.iter().collect();
        let found = paired(&rows);
        // AUPRC has no patient with a value.
        assert_eq!(found.len(), 1);
        let found = &found[0];
        assert_eq!((found.patients, found.comparisons.len()), (6, 3));
        assert_eq!(
            (found.smallest_p, found.smallest_adjusted_p),
            (0.03125, 0.09375)
        );
        assert_eq!(
            found.note.as_deref(),
            Some("too few patients to test: the smallest reachable p is 0.09 after Holm")
        );
        let first = &found.comparisons[0];
        assert_eq!((first.better, first.worse, first.equal), (6, 0, 0));
        assert_eq!(
            (first.sign_flip.p, first.sign_flip.adjusted_p),
            (0.03125, 0.09375)
        );
        assert_eq!(
            (first.signed_rank.p, first.signed_rank.exact),
            (0.03125, true)
        );
        assert!((first.patient_difference - 0.05).abs() < 1e-12);
        // Every patient differs by as much: so does every resample.
        let [low, high] = first.ci95.unwrap();
        assert!((low - 0.05).abs() < 1e-12 && (high - 0.05).abs() < 1e-12);
    }

    #[test]
    fn rows_of_other_patients_are_compared_where_they_meet() {
        let mut one = measured("one", &[0.5, 0.6, 0.7]);
        one.dice.remove(&0);
        let other = measured("other", &[0.5, 0.5, 0.7]);
        let found = paired(&[&one, &other]);
        assert_eq!(found[0].patients, 2);
        let first = &found[0].comparisons[0];
        assert_eq!((first.better, first.worse, first.equal), (1, 0, 1));
        assert!(paired(&[&one]).is_empty());
    }

    #[test]
    fn many_rows_are_compared_with_the_best() {
        let rows: Vec<Measured> = (0..MOST_ROWS + 1)
            .map(|number| measured(&format!("row{number}"), &[0.1, 0.2 + 0.01 * number as f64]))
            .collect();
        let rows: Vec<&Measured> = rows.iter().collect();
        let found = paired(&rows);
        assert_eq!(found[0].comparisons.len(), MOST_ROWS);
        let best = format!("row{MOST_ROWS}");
        assert!(
            found[0]
                .comparisons
                .iter()
                .all(|one| one.first.method == best)
        );
    }
}
