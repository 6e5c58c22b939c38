//! Scores and labels of pixels packed into sorted integer keys: what average precision is counted from.
//!
//! A key is `(bits of the score) << 1 | label`. The bits of non-negative floats order as the floats do, their
//! sign bit is free, and so a key fits 32 bits and keys sort by score.

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ScoreError {
    #[error("score {value} at pixel {pixel}: scores must be finite")]
    NotFinite { value: f32, pixel: usize },
    #[error(
        "score {value} at pixel {pixel}: scores must not be negative (only their order counts: take the lowest of all off)"
    )]
    Negative { value: f32, pixel: usize },
}

/// The keys of one slice's pixels in ascending order.
///
/// `foreground` selects the pixels that count; without it all do. Scores must be finite and not negative; -0
/// counts as 0.
///
/// # Errors
/// On a counted score that is NaN, infinite or negative.
///
/// # Panics
/// When the arrays differ in length.
pub fn score_run(
    scores: &[f32],
    labels: &[u8],
    foreground: Option<&[u8]>,
) -> Result<Vec<u32>, ScoreError> {
    assert!(
        scores.len() == labels.len() && foreground.is_none_or(|mask| mask.len() == scores.len()),
        "scores, labels and foreground of different sizes. This is a bug."
    );
    let mut run = Vec::with_capacity(scores.len());
    for (pixel, (score, label)) in scores.iter().zip(labels).enumerate() {
        if foreground.is_none_or(|mask| mask[pixel] != 0) {
            run.push(key(*score, *label != 0, pixel)?);
        }
    }
    run.sort_unstable();
    Ok(run)
}

fn key(value: f32, label: bool, pixel: usize) -> Result<u32, ScoreError> {
    if !value.is_finite() {
        return Err(ScoreError::NotFinite { value, pixel });
    }
    if value < 0.0 {
        return Err(ScoreError::Negative { value, pixel });
    }
    // Adding zero turns -0 into 0.
    Ok(score_key((value + 0.0).to_bits(), label))
}

/// The key of a pixel from what orders its score, below 2^31.
pub(super) const fn score_key(order: u32, label: bool) -> u32 {
    order << 1 | label as u32
}

/// Whether `run` is in ascending order and made of finite scores; what came from a file is checked first.
pub fn is_score_run(run: &[u32]) -> bool {
    run.is_sorted()
        && run
            .last()
            .is_none_or(|key| key >> 1 < f32::INFINITY.to_bits())
}

/// Where the sorted runs of slices are read from: memory, or the records of a run.
///
/// Results do not depend on the order in which runs are handed out, nor on how a slice's run is cut into pieces,
/// so a source may walk its files as it likes. It is asked several times and must give the same each time.
pub trait RunSource: Sync {
    type Error: Send;

    /// Whether a pass over it costs nothing; then many are made beside each other.
    fn in_memory(&self) -> bool {
        false
    }

    /// Hands each wanted slice's index and run to `visit`. `slices` are indices in ascending order.
    fn visit_runs(
        &self,
        slices: &[usize],
        visit: &mut dyn FnMut(usize, &[u32]),
    ) -> Result<(), Self::Error>;
}

/// Runs held in memory, one per slice.
impl RunSource for [Vec<u32>] {
    type Error = std::convert::Infallible;

    fn in_memory(&self) -> bool {
        true
    }

    fn visit_runs(
        &self,
        slices: &[usize],
        visit: &mut dyn FnMut(usize, &[u32]),
    ) -> Result<(), Self::Error> {
        for slice in slices {
            visit(*slice, &self[*slice]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_score_and_keep_the_label() {
        let run = score_run(&[0.5, -0.0, 2.0], &[0, 1, 1], None);
        let bits = |value: f32| value.to_bits() << 1;
        assert_eq!(run, Ok(vec![1, bits(0.5), bits(2.0) | 1]));
        assert_eq!(f32::from_bits((bits(2.0) | 1) >> 1), 2.0);
    }

    #[test]
    fn only_foreground_counts_and_is_checked() {
        let run = score_run(&[f32::NAN, 1.0], &[0, 0], Some(&[0, 1]));
        assert_eq!(run, Ok(vec![1.0_f32.to_bits() << 1]));
    }

    #[test]
    fn scores_without_a_key_are_refused() {
        let error = |score| {
            score_run(&[0.0, score], &[0, 0], None)
                .unwrap_err()
                .to_string()
        };
        assert!(error(f32::NAN).contains("NaN at pixel 1"));
        assert!(error(f32::INFINITY).contains("finite"));
        assert!(error(-1.0).contains("take the lowest of all off"));
    }

    #[test]
    fn runs_from_outside_are_recognised() {
        assert!(is_score_run(&[]));
        assert!(is_score_run(&[0, 1, 1, 8]));
        assert!(!is_score_run(&[3, 2]));
        assert!(!is_score_run(&[f32::INFINITY.to_bits() << 1]));
    }
}
