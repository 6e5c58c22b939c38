//! How firm a ranking is: what ranks the rows have over bootstrap samples of patients.

use rayon::prelude::*;

use super::kendall::kendall_tau;

/// A ranking with what other patients would have made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stability {
    /// Rank of each row, 1 the best; rows of equal score share the better rank.
    pub ranks: Vec<usize>,
    /// For each row the share of samples in which it has rank 1, 2, …; empty without samples.
    pub shares: Vec<Vec<f64>>,
    /// Kendall's tau-b between the ranking and that of a sample, mean over the samples in which it is defined.
    pub kendall: Option<f64>,
}

/// Ranks of scores, the highest first: 1, 2, 2, 4. A score that is NaN is the last.
pub fn competition_ranks(scores: &[f64]) -> Vec<usize> {
    let better = |a: f64, b: f64| a > b || (b.is_nan() && !a.is_nan());
    scores
        .iter()
        .map(|score| {
            1 + scores
                .iter()
                .filter(|other| better(**other, *score))
                .count()
        })
        .collect()
}

/// Ranks rows by `scores`, the higher the better, and by those of `samples` samples.
pub fn stability(
    scores: &[f64],
    samples: u64,
    of_sample: impl Fn(u64) -> Vec<f64> + Sync,
) -> Stability {
    let rows = scores.len();
    let ranks = competition_ranks(scores);
    let of = |ranks: &[usize]| -> Vec<f64> { ranks.iter().map(|rank| *rank as f64).collect() };
    let whole = of(&ranks);
    // Gathered in the order of the samples, so that threads change no bit.
    let drawn: Vec<(Vec<usize>, Option<f64>)> = (0..samples)
        .into_par_iter()
        .map(|sample| {
            let ranks = competition_ranks(&of_sample(sample));
            let tau = kendall_tau(&whole, &of(&ranks));
            (ranks, tau)
        })
        .collect();
    let mut counts = vec![vec![0_u64; rows]; rows];
    for (ranks, _) in &drawn {
        for (row, rank) in counts.iter_mut().zip(ranks) {
            row[rank - 1] += 1;
        }
    }
    let share = |count: u64| count as f64 / samples as f64;
    let taus: Vec<f64> = drawn.iter().filter_map(|(_, tau)| *tau).collect();
    Stability {
        ranks,
        shares: match samples {
            0 => Vec::new(),
            _ => counts
                .into_iter()
                .map(|row| row.into_iter().map(share).collect())
                .collect(),
        },
        kendall: (!taus.is_empty()).then(|| taus.iter().sum::<f64>() / taus.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_share_the_better_rank() {
        assert_eq!(competition_ranks(&[0.5, 0.9, 0.5, 0.1]), [2, 1, 2, 4]);
        assert_eq!(competition_ranks(&[f64::NAN, 0.0, f64::NAN]), [2, 1, 2]);
    }

    /// Two samples of three turn the first two rows round.
    #[test]
    fn shares_are_of_samples() {
        let samples = [[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [2.0, 3.0, 1.0]];
        let found = stability(&[0.9, 0.8, 0.1], 3, |sample| {
            samples[usize::try_from(sample).unwrap()].to_vec()
        });
        assert_eq!(found.ranks, [1, 2, 3]);
        let third = 1.0 / 3.0;
        assert_eq!(found.shares[0], [third, 2.0 * third, 0.0]);
        assert_eq!(found.shares[2], [0.0, 0.0, 1.0]);
        // Tau is 1 and twice 1/3.
        assert!((found.kendall.unwrap() - 5.0 / 9.0).abs() < 1e-15);
        assert_eq!(stability(&[1.0], 0, |_| vec![1.0]).kendall, None);
    }
}
