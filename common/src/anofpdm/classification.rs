//! Healthy or unhealthy by the cosine of the two MSE sequences (Eq. 18), and the threshold Cos_w on it.

use crate::semantics::CosineSearch;

use super::calibration_error::CalibrationError;
use super::quantile;

/// Lower bound of the norms in a cosine, as `torch.nn.functional.cosine_similarity` is called by the public code.
const COSINE_EPSILON: f64 = 1e-6;
/// Candidates of [`CosineSearch::HealthyQuantiles`].
const QUANTILE_CANDIDATES: usize = 100;
/// The share of healthy slices those candidates give up, lowest and highest.
const QUANTILE_RANGE: [f32; 2] = [0.005, 0.095];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageLabel {
    Healthy,
    /// A lesion somewhere.
    Unhealthy,
}

/// A threshold on a number of each slice and how well it separates the validation slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelThreshold {
    /// Cos_w: a slice is unhealthy when its cosine is at most this; or the ratio at or above which it is.
    pub threshold: f32,
    /// Validation slices on the right side of it.
    pub correct: usize,
    pub slices: usize,
}

impl LabelThreshold {
    /// Share of validation slices classified rightly.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.slices as f64
    }
}

/// Cosine of two MSE sequences (Eq. 18), each `[steps, modalities]`: modalities are averaged first, then the cosine is
/// taken over the steps. Norms below 1e-6 count as 1e-6. Sums are formed in f64 in order.
///
/// # Panics
/// When the sequences differ in length or are not whole steps.
pub fn cosine(mse_h: &[f32], mse_null: &[f32], modalities: usize) -> f32 {
    assert!(
        modalities > 0 && mse_h.len() == mse_null.len() && mse_h.len().is_multiple_of(modalities),
        "sequences of different shape. This is a bug."
    );
    let step_mean =
        |step: &[f32]| step.iter().map(|value| f64::from(*value)).sum::<f64>() / modalities as f64;
    let (mut dot, mut norm_h, mut norm_null) = (0.0, 0.0, 0.0);
    let steps = mse_h
        .chunks_exact(modalities)
        .zip(mse_null.chunks_exact(modalities));
    for (h, null) in steps {
        let (h, null) = (step_mean(h), step_mean(null));
        dot += h * null;
        norm_h += h * h;
        norm_null += null * null;
    }
    let norms = norm_h.sqrt().max(COSINE_EPSILON) * norm_null.sqrt().max(COSINE_EPSILON);
    // Eq. 18.
    (dot / norms) as f32
}

/// Whether a slice with this cosine is called unhealthy. A NaN cosine never is.
pub fn classify(cosine: f32, threshold: f32) -> ImageLabel {
    if cosine <= threshold {
        ImageLabel::Unhealthy
    } else {
        ImageLabel::Healthy
    }
}

/// Searches the threshold on the cosines of the validation slices.
///
/// # Errors
/// When the slices are all of one kind or a cosine is not finite.
///
/// # Panics
/// When `cosines` and `labels` differ in number.
pub fn search_threshold(
    cosines: &[f32],
    labels: &[ImageLabel],
    rule: CosineSearch,
) -> Result<LabelThreshold, CalibrationError> {
    search("the cosine", cosines, labels, rule)
}

/// The search on any number that is low where a slice is unhealthy; `what` names it in errors.
pub(super) fn search(
    what: &'static str,
    cosines: &[f32],
    labels: &[ImageLabel],
    rule: CosineSearch,
) -> Result<LabelThreshold, CalibrationError> {
    assert_eq!(
        cosines.len(),
        labels.len(),
        "numbers and labels differ in number. This is a bug."
    );
    if let Some(slice) = cosines.iter().position(|cosine| !cosine.is_finite()) {
        return Err(CalibrationError::NotFinite { slice, what });
    }
    let of_kind = |kind: ImageLabel| -> Vec<f32> {
        let pairs = cosines.iter().zip(labels);
        let mut chosen: Vec<f32> = pairs
            .filter(|(_, l)| **l == kind)
            .map(|(c, _)| *c)
            .collect();
        chosen.sort_unstable_by(f32::total_cmp);
        chosen
    };
    let kinds = Kinds {
        healthy: of_kind(ImageLabel::Healthy),
        unhealthy: of_kind(ImageLabel::Unhealthy),
    };
    if kinds.healthy.is_empty() || kinds.unhealthy.is_empty() {
        return Err(CalibrationError::OneKind {
            healthy: kinds.healthy.len(),
            unhealthy: kinds.unhealthy.len(),
        });
    }
    let threshold = match rule {
        CosineSearch::BestAccuracy => kinds.best_accuracy(),
        CosineSearch::HealthyQuantiles => kinds.healthy_quantiles(),
    };
    Ok(LabelThreshold {
        threshold,
        correct: kinds.correct(threshold),
        slices: cosines.len(),
    })
}

/// The cosines of the validation slices by their label, each sorted; neither is empty.
struct Kinds {
    healthy: Vec<f32>,
    unhealthy: Vec<f32>,
}

impl Kinds {
    /// Slices that `cosine <= threshold` classifies rightly.
    fn correct(&self, threshold: f32) -> usize {
        let at_most = |cosines: &[f32]| cosines.partition_point(|cosine| *cosine <= threshold);
        at_most(&self.unhealthy) + self.healthy.len() - at_most(&self.healthy)
    }

    /// What the public code minimises: #(unhealthy > threshold) + #(healthy < threshold). A healthy slice on the
    /// threshold is no error there although it is classified unhealthy.
    fn reference_errors(&self, threshold: f32) -> usize {
        let missed = self.unhealthy.len()
            - self
                .unhealthy
                .partition_point(|cosine| *cosine <= threshold);
        missed + self.healthy.partition_point(|cosine| *cosine < threshold)
    }

    /// Best accuracy over the midpoints of neighbouring cosines and the two thresholds outside all of them; the
    /// lowest on ties.
    fn best_accuracy(&self) -> f32 {
        let mut sorted = [self.healthy.as_slice(), &self.unhealthy].concat();
        sorted.sort_unstable_by(f32::total_cmp);
        sorted.dedup();
        let below_all = sorted[0].next_down();
        let above_all = sorted[sorted.len() - 1];
        let midpoints = sorted.windows(2).map(|pair| midpoint(pair[0], pair[1]));
        let candidates = std::iter::once(below_all)
            .chain(midpoints)
            .chain(std::iter::once(above_all));
        let mut best = (below_all, 0);
        for candidate in candidates {
            let correct = self.correct(candidate);
            if correct > best.1 {
                best = (candidate, correct);
            }
        }
        best.0
    }

    /// The first quantile of the healthy cosines with the fewest errors as the public code counts them.
    fn healthy_quantiles(&self) -> f32 {
        let [lowest, highest] = QUANTILE_RANGE;
        let mut best = (f32::NAN, usize::MAX);
        for q in quantile::linspace(lowest, highest, QUANTILE_CANDIDATES) {
            let candidate = quantile::quantile(&self.healthy, q);
            let errors = self.reference_errors(candidate);
            if errors < best.1 {
                best = (candidate, errors);
            }
        }
        best.0
    }
}

/// The middle of two neighbours; the lower of them where no float lies between, so that they stay apart.
fn midpoint(lower: f32, upper: f32) -> f32 {
    let middle = lower.midpoint(upper);
    if middle < upper { middle } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: ImageLabel = ImageLabel::Healthy;
    const U: ImageLabel = ImageLabel::Unhealthy;

    fn best(cosines: &[f32], labels: &[ImageLabel]) -> LabelThreshold {
        search_threshold(cosines, labels, CosineSearch::BestAccuracy).unwrap()
    }

    #[test]
    fn best_accuracy_lies_midway_and_lowest_on_ties() {
        let found = best(&[0.2, 0.4, 0.6, 0.8], &[U, U, H, H]);
        assert_eq!((found.threshold, found.correct), (0.5, 4));
        assert_eq!(found.accuracy(), 1.0);
        // One error below 0.3 and one above 0.5: the lower is taken.
        let found = best(&[0.2, 0.4, 0.6, 0.8], &[U, H, U, H]);
        assert_eq!(found.correct, 3);
        assert!((found.threshold - 0.3).abs() < 1e-6);
    }

    #[test]
    fn thresholds_outside_all_cosines_are_considered() {
        // Healthy slices have the low cosines, so calling everything one thing is best.
        let found = best(&[0.1, 0.2, 0.3, 0.9], &[H, H, H, U]);
        assert_eq!(found.correct, 3);
        assert!(found.threshold < 0.1);
        let found = best(&[0.1, 0.7, 0.8, 0.9], &[H, U, U, U]);
        assert_eq!(found.correct, 3);
        assert_eq!(found.threshold, 0.9);
    }

    #[test]
    fn neighbouring_floats_stay_apart() {
        let (lower, upper) = (0.5_f32, 0.5_f32.next_up());
        let found = best(&[lower, upper], &[U, H]);
        assert_eq!((found.threshold, found.correct), (lower, 2));
    }

    #[test]
    fn one_kind_of_slices_decides_nothing() {
        for rule in [CosineSearch::BestAccuracy, CosineSearch::HealthyQuantiles] {
            let error = search_threshold(&[0.1, 0.2], &[H, H], rule).unwrap_err();
            assert!(error.to_string().contains("2 healthy and 0 unhealthy"));
            assert!(search_threshold(&[0.1], &[U], rule).is_err());
            assert!(search_threshold(&[], &[], rule).is_err());
        }
        let error = search_threshold(&[0.1, f32::NAN], &[H, U], CosineSearch::BestAccuracy);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("validation slice 1")
        );
    }

    #[test]
    fn a_zero_sequence_has_cosine_zero() {
        assert_eq!(cosine(&[0.0; 4], &[1.0; 4], 2), 0.0);
    }
}
