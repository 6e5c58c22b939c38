//! How firm the order of the rows is: three ways to rank them, over bootstrap resamples of patients.

use anofpdm_common::metrics::bootstrap::{RESAMPLES, times_drawn};
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::statistics::mid_ranks::doubled_mid_ranks;
use anofpdm_common::statistics::{PairedOrder, Stability, holm, kendall_tau, stability};

use super::comparison::{Compared, MOST_ROWS, draws, mean};
use super::difference::{LEVEL, beyond_rounding, rounded};
use super::measured::{BOOTSTRAP_SEED, Measured};
use crate::report::statistics::{Agreement, Metric, RankedBy, Ranking, RankingBy};

/// The rankings of each set-up and metric that has several rows; none of more than [`MOST_ROWS`].
pub(super) fn rankings(rows: &[&Measured]) -> Vec<Ranking> {
    let mut found = Vec::new();
    for setup in Setup::ALL {
        for metric in Metric::ALL {
            let compared = Compared::new(rows, setup, metric);
            let count = compared.rows.len();
            if (2..=MOST_ROWS).contains(&count) && !compared.patients.is_empty() {
                found.push(ranking(&compared, setup, metric));
            }
        }
    }
    found
}

fn ranking(compared: &Compared<'_>, setup: Setup, metric: Metric) -> Ranking {
    let ways = [
        (RankedBy::AggregateThenRank, by_table(compared, metric)),
        (RankedBy::RankThenAggregate, by_ranks(compared)),
        (RankedBy::TestBased, by_tests(compared)),
    ];
    let as_scores = |ranks: &[usize]| -> Vec<f64> { ranks.iter().map(|r| *r as f64).collect() };
    let agreement = [(0, 1), (0, 2), (1, 2)].map(|(first, second)| Agreement {
        first: ways[first].0,
        second: ways[second].0,
        kendall: kendall_tau(
            &as_scores(&ways[first].1.ranks),
            &as_scores(&ways[second].1.ranks),
        ),
    });
    Ranking {
        setup,
        metric,
        patients: compared.patients.len(),
        rows: compared
            .rows
            .iter()
            .map(|measured| measured.row.id())
            .collect(),
        rankings: ways
            .into_iter()
            .map(|(by, found)| RankingBy {
                by,
                ranks: found.ranks,
                shares: found.shares,
                kendall: found.kendall,
            })
            .collect(),
        agreement: agreement.to_vec(),
    }
}

/// Resamples: none of one patient.
fn resamples(compared: &Compared<'_>) -> u64 {
    match compared.patients.len() {
        0 | 1 => 0,
        _ => RESAMPLES,
    }
}

/// By the number in the table, higher better.
fn by_table(compared: &Compared<'_>, metric: Metric) -> Stability {
    let whole: Vec<f64> = compared
        .rows
        .iter()
        .map(|row| mean(row, metric).map_or(f64::NAN, rounded))
        .collect();
    let drawn: Vec<&[f64]> = compared.rows.iter().map(|row| draws(row, metric)).collect();
    let count = drawn.iter().map(|row| row.len()).min().unwrap_or(0) as u64;
    stability(&whole, count, |resample| {
        #[allow(clippy::cast_possible_truncation)]
        drawn
            .iter()
            .map(|row| rounded(row[resample as usize]))
            .collect()
    })
}

/// By the mean of the ranks that the rows have within each patient.
fn by_ranks(compared: &Compared<'_>) -> Stability {
    let rows = compared.rows.len();
    // `[patient][row]`: the higher the value, the higher the rank.
    let ranks: Vec<Vec<u64>> = (0..compared.patients.len())
        .map(|patient| {
            let values = compared.values.iter().map(|row| rounded(row[patient]));
            let values: Vec<f64> = values.collect();
            doubled_mid_ranks(&values)
        })
        .collect();
    let scores = |times: &[u32]| -> Vec<f64> {
        let mut sums = vec![0_u64; rows];
        for (times, ranks) in times.iter().zip(&ranks) {
            for (sum, rank) in sums.iter_mut().zip(ranks) {
                *sum += u64::from(*times) * rank;
            }
        }
        sums.into_iter().map(|sum| sum as f64).collect()
    };
    over_resamples(compared, &scores)
}

/// By the number of rows that are significantly worse: signed rank tests by the normal approximation, after Holm.
fn by_tests(compared: &Compared<'_>) -> Stability {
    let rows = compared.rows.len();
    let pairs: Vec<(usize, usize, PairedOrder)> = (0..rows)
        .flat_map(|first| (first + 1..rows).map(move |second| (first, second)))
        .map(|(first, second)| {
            let differences = compared.differences(first, second).into_iter();
            let differences: Vec<f64> = differences.map(beyond_rounding).collect();
            (first, second, PairedOrder::new(&differences))
        })
        .collect();
    let scores = |times: &[u32]| -> Vec<f64> {
        let tests: Vec<(f64, bool)> = pairs
            .iter()
            .map(|(_, _, order)| order.test(times))
            .collect();
        let p: Vec<f64> = tests.iter().map(|(p, _)| *p).collect();
        let mut wins = vec![0.0; rows];
        for (((first, second, _), (_, positive)), p) in pairs.iter().zip(&tests).zip(holm(&p)) {
            if p <= LEVEL {
                wins[if *positive { *first } else { *second }] += 1.0;
            }
        }
        wins
    };
    over_resamples(compared, &scores)
}

fn over_resamples(
    compared: &Compared<'_>,
    scores: &(impl Fn(&[u32]) -> Vec<f64> + Sync),
) -> Stability {
    let patients = compared.patients.len();
    stability(
        &scores(&vec![1; patients]),
        resamples(compared),
        |resample| scores(&times_drawn(patients, BOOTSTRAP_SEED, resample)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::measured;
    use super::*;

    /// The first row has the higher mean, from one patient; the second is better in all others.
    #[test]
    fn ways_to_rank_can_differ() {
        let level = |patient: usize| 0.3 + 0.01 * patient as f64;
        let values = |of: &dyn Fn(usize) -> f64| (0..12).map(of).collect::<Vec<f64>>();
        let one = values(&|patient| if patient == 0 { 1.0 } else { level(patient) });
        let other = values(&|patient| level(patient) + if patient == 0 { 0.0 } else { 0.02 });
        let poor = values(&|patient| level(patient) - 0.2);
        let rows = [
            measured("one", &one),
            measured("other", &other),
            measured("poor", &poor),
        ];
        let rows: Vec<&Measured> = rows.iter().collect();
        let found = rankings(&rows);
        assert_eq!(found.len(), 1);
        let ranks: Vec<&[usize]> = found[0]
            .rankings
            .iter()
            .map(|by| by.ranks.as_slice())
            .collect();
        assert_eq!(ranks[0], [1, 2, 3]);
        assert_eq!(ranks[1], [2, 1, 3]);
        assert_eq!(ranks[2][2], 3, "both others are significantly better");
        for by in &found[0].rankings {
            for shares in &by.shares {
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
            assert!(by.shares[2][2] > 0.9, "{by:?}");
        }
        // The one patient is left out of (11/12)^12 of the resamples, 35 %.
        let second = found[0].rankings[0].shares[0][1];
        assert!((0.3..0.4).contains(&second), "{second}");
        assert_eq!(found[0].agreement[0].kendall, Some(1.0 / 3.0));
        // One patient is not drawn from.
        let alone = rankings(&[&measured("a", &[0.5]), &measured("b", &[0.4])]);
        assert!(alone[0].rankings.iter().all(|by| by.shares.is_empty()));
        assert_eq!(alone[0].rankings[0].ranks, [1, 2]);
    }
}
