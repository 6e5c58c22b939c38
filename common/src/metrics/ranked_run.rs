//! Score runs of scores in float64: average precision asks for their order and ties alone, so each score's rank among
//! all of them stands for it.

use rayon::prelude::*;

use super::score_run::score_key;

/// Distinct scores that a key has room for.
const MOST_RANKS: usize = 1 << 31;

#[derive(Debug, Clone, Copy)]
pub struct ScoredSlice<'a> {
    /// One score a pixel.
    pub scores: &'a [f64],
    /// One label a pixel, not 0 where it is set.
    pub labels: &'a [u8],
    /// The pixels that count; without it all do.
    pub foreground: Option<&'a [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RankError {
    #[error("slice {slice}: score {value} at pixel {pixel}: scores must be finite")]
    NotFinite {
        value: f64,
        slice: usize,
        pixel: usize,
    },
    #[error("{0} different scores: at most 2^31 can be told apart; evaluate fewer slices at once")]
    TooMany(usize),
}

/// The sorted runs of `slices`, as [`super::score_run()`] makes them, with ranks in place of scores. Scores may be
/// negative; -0 counts as 0.
///
/// # Errors
/// On a counted score that is NaN or infinite.
///
/// # Panics
/// When the arrays of a slice differ in length.
pub fn ranked_runs(slices: &[ScoredSlice<'_>]) -> Result<Vec<Vec<u32>>, RankError> {
    let mut ranked = Vec::with_capacity(slices.iter().map(|slice| slice.scores.len()).sum());
    for (index, slice) in slices.iter().enumerate() {
        for (pixel, score, _) in slice.counted() {
            if !score.is_finite() {
                return Err(RankError::NotFinite {
                    value: score,
                    slice: index,
                    pixel,
                });
            }
            ranked.push(score);
        }
    }
    ranked.par_sort_unstable_by(f64::total_cmp);
    ranked.dedup();
    if ranked.len() > MOST_RANKS {
        return Err(RankError::TooMany(ranked.len()));
    }
    Ok(slices
        .par_iter()
        .map(|slice| {
            let keys = slice.counted().map(|(_, score, label)| {
                let rank = ranked.partition_point(|other| *other < score);
                // Below 2^31, as checked.
                score_key(u32::try_from(rank).unwrap_or(u32::MAX), label)
            });
            let mut run: Vec<u32> = keys.collect();
            run.sort_unstable();
            run
        })
        .collect())
}

impl ScoredSlice<'_> {
    /// Index, score and label of each pixel that counts.
    fn counted(&self) -> impl Iterator<Item = (usize, f64, bool)> {
        let pixels = self.scores.len();
        assert!(
            self.labels.len() == pixels && self.foreground.is_none_or(|mask| mask.len() == pixels),
            "scores, labels and foreground of different sizes. This is a bug."
        );
        let pixels = self.scores.iter().zip(self.labels).enumerate();
        pixels
            .filter(|(pixel, _)| self.foreground.is_none_or(|mask| mask[*pixel] != 0))
            // Adding zero turns -0 into 0.
            .map(|(pixel, (score, label))| (pixel, score + 0.0, *label != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::average_precision;
    use super::super::score_run::score_run;
    use super::*;

    fn run(scores: &[f64], labels: &[u8]) -> Result<Vec<u32>, RankError> {
        let slice = ScoredSlice {
            scores,
            labels,
            foreground: None,
        };
        ranked_runs(&[slice]).map(|runs| runs.concat())
    }

    /// Scores x in 0..1 with many ties, labels that they tell a little of.
    fn pixels() -> (Vec<f64>, Vec<u8>) {
        (0..2000_u32)
            .map(|i| {
                let (x, y) = (i * 7919 % 997, i * 104_729 % 1009);
                (f64::from(x) / 997.0, u8::from(2 * x + 3 * y > 4000))
            })
            .unzip()
    }

    const AVERAGE_PRECISION: f64 = 0.281_124_046_248_796_1;
    const THREE_VALUES: f64 = 0.218_324_939_979_389_45;
    const PREVALENCE: f64 = 0.0875;

    /// Against `average_precision_score` of scikit-learn 1.9.1 (NumPy 2.4.6).
    #[test]
    fn float64_scores_rank_as_scikit_learn_ranks_them() {
        let (x, labels) = pixels();
        for (name, score, want) in [
            ("as they are", (|x| x) as fn(f64) -> f64, AVERAGE_PRECISION),
            ("tiny", |x| x * 1e-60, AVERAGE_PRECISION),
            ("subnormal", |x| x * 1e-310, AVERAGE_PRECISION),
            ("huge", |x| x * 1e60, AVERAGE_PRECISION),
            ("above a half", |x| 0.5 + 1e-9 * x, AVERAGE_PRECISION),
            ("saturated", |x| 1.0 - 1e-9 * (1.0 - x), AVERAGE_PRECISION),
            ("negative", |x| x - 5.0, AVERAGE_PRECISION),
            ("three values", |x| (x * 3.0).floor(), THREE_VALUES),
            ("one value", |_| -0.0, PREVALENCE),
        ] {
            let scores: Vec<f64> = x.iter().copied().map(score).collect();
            let runs = [run(&scores, &labels).unwrap()];
            let Ok(got) = average_precision(&runs[..], &[0]);
            assert!((got.unwrap() - want).abs() < 1e-12, "{name}: {got:?}");
        }
    }

    #[test]
    fn scores_that_float32_holds_give_the_bits_of_its_own_keys() {
        let (x, labels) = pixels();
        let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let wide: Vec<f64> = narrow.iter().copied().map(f64::from).collect();
        let ours = [run(&wide, &labels).unwrap()];
        let keys = [score_run(&narrow, &labels, None).unwrap()];
        let average = |runs: &[Vec<u32>]| average_precision(runs, &[0]).unwrap().unwrap();
        assert_eq!(average(&ours).to_bits(), average(&keys).to_bits());
    }

    #[test]
    fn ranks_are_shared_by_slices_and_only_the_foreground_counts() {
        let slice = |scores, foreground| ScoredSlice {
            scores,
            labels: &[0, 1],
            foreground,
        };
        let runs = ranked_runs(&[
            slice(&[f64::NAN, 0.5], Some(&[0, 1])),
            slice(&[-0.0, 0.25], None),
            slice(&[0.5, 0.0], None),
        ]);
        // Ranks: 0 is 0, 1/4 is 1, 1/2 is 2.
        assert_eq!(runs, Ok(vec![vec![5], vec![0, 3], vec![1, 4]]));
        let wrong = ranked_runs(&[slice(&[0.0, 0.0], None), slice(&[0.0, f64::INFINITY], None)]);
        let message = wrong.unwrap_err().to_string();
        assert_eq!(
            message,
            "slice 1: score inf at pixel 1: scores must be finite"
        );
    }
}
