//! What the validation slices decide: the cosine threshold, M_max and the guidance strength (SCIENCE 3).
//!
//! Nothing in here can hold a pixel label: the method is tuned on image-level labels only, and the types say so.

use crate::segment::quantile;
use crate::semantics::{CosineSearch, MaxDivergence, Switches};

use super::mse_ratio::{mse_ratio, search_ratio};

/// Lower bound of the norms in a cosine, as `torch.nn.functional.cosine_similarity` is called by the public code.
const COSINE_EPSILON: f64 = 1e-6;
/// Candidates of [`CosineSearch::HealthyQuantiles`].
const QUANTILE_CANDIDATES: usize = 100;
/// The share of healthy slices those candidates give up, lowest and highest.
const QUANTILE_RANGE: [f32; 2] = [0.005, 0.095];

/// What is known about a whole slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageLabel {
    /// No lesion.
    Healthy,
    /// A lesion somewhere.
    Unhealthy,
}

/// One validation slice. Sequences are row-major `[steps, modalities]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationSlice {
    /// The only label calibration sees.
    pub label: ImageLabel,
    /// MSE^h: mean over pixels of (HGP - x0)^2 (Eq. 14).
    pub mse_h: Vec<f32>,
    /// MSE^null: mean over pixels of (UGP - x0)^2 (Eq. 16).
    pub mse_null: Vec<f32>,
    /// M_t: mean over pixels of (HGP - UGP)^2 (Eq. 12).
    pub divergence: Vec<f32>,
}

/// Why validation slices decide nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// All slices have the same label.
    #[error(
        "{healthy} healthy and {unhealthy} unhealthy validation slices: calibration needs both kinds \
         (more validation slices, or another split)"
    )]
    OneKind {
        /// Healthy slices.
        healthy: usize,
        /// Unhealthy slices.
        unhealthy: usize,
    },
    /// A value that cannot be compared.
    #[error("validation slice {slice}: {what} is not a finite number")]
    NotFinite {
        /// Index of the slice among the validation slices.
        slice: usize,
        /// Which value.
        what: &'static str,
    },
    /// Sequences of another length.
    #[error("validation slice {slice}: {what} has {found} values, {expected} were expected")]
    Length {
        /// Index of the slice among the validation slices.
        slice: usize,
        /// Which sequence.
        what: &'static str,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
}

/// A threshold on a number of each slice and how well it separates the validation slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Cos_w: a slice is unhealthy when its cosine is at most this; or the ratio at or above which it is.
    pub threshold: f32,
    /// Validation slices on the right side of it.
    pub correct: usize,
    /// All validation slices.
    pub slices: usize,
}

impl Threshold {
    /// Share of validation slices classified rightly.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.slices as f64
    }
}

/// Everything calibration finds for one guidance strength and encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The cosine threshold.
    pub cosine: Threshold,
    /// The threshold on the ratio of the MSE sequences, which is not in the paper.
    pub ratio: Threshold,
    /// M_max of each modality.
    pub max_divergence: Vec<f32>,
}

/// Calibrates one guidance strength on its validation slices.
///
/// # Errors
/// When the slices are all of one kind, differ in length, or hold a value that is not finite.
pub fn calibrate(
    slices: &[CalibrationSlice],
    modalities: usize,
    switches: &Switches,
) -> Result<Calibration, CalibrationError> {
    check_lengths(slices, modalities)?;
    let labels: Vec<ImageLabel> = slices.iter().map(|slice| slice.label).collect();
    let cosines: Vec<f32> = slices
        .iter()
        .map(|slice| cosine(&slice.mse_h, &slice.mse_null, modalities))
        .collect();
    let ratios: Vec<f32> = slices
        .iter()
        .map(|slice| mse_ratio(&slice.mse_h, &slice.mse_null))
        .collect();
    Ok(Calibration {
        cosine: search_threshold(&cosines, &labels, switches.cosine)?,
        ratio: search_ratio(&ratios, &labels)?,
        max_divergence: max_divergence(slices, modalities, switches.max_divergence)?,
    })
}

fn check_lengths(slices: &[CalibrationSlice], modalities: usize) -> Result<(), CalibrationError> {
    let Some(first) = slices.first() else {
        return Ok(());
    };
    let expected = first
        .mse_h
        .len()
        .next_multiple_of(modalities.max(1))
        .max(modalities);
    for (slice, sequences) in slices.iter().enumerate() {
        for (what, values) in [
            ("mse_h", &sequences.mse_h),
            ("mse_null", &sequences.mse_null),
            ("divergence", &sequences.divergence),
        ] {
            if values.len() != expected {
                return Err(CalibrationError::Length {
                    slice,
                    what,
                    found: values.len(),
                    expected,
                });
            }
        }
    }
    Ok(())
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
) -> Result<Threshold, CalibrationError> {
    search("the cosine", cosines, labels, rule)
}

/// The search on any number that is low where a slice is unhealthy; `what` names it in errors.
pub(super) fn search(
    what: &'static str,
    cosines: &[f32],
    labels: &[ImageLabel],
    rule: CosineSearch,
) -> Result<Threshold, CalibrationError> {
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
    Ok(Threshold {
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

/// M_max (Algorithm 1): the largest M_t of each modality over the slices that `rule` names.
///
/// # Errors
/// When no slice is left, or a divergence is not finite.
pub fn max_divergence(
    slices: &[CalibrationSlice],
    modalities: usize,
    rule: MaxDivergence,
) -> Result<Vec<f32>, CalibrationError> {
    let unhealthy = slices
        .iter()
        .filter(|slice| slice.label == ImageLabel::Unhealthy)
        .count();
    let counted = match rule {
        MaxDivergence::AllSlices => slices.len(),
        MaxDivergence::UnhealthySlices => unhealthy,
    };
    if counted == 0 {
        return Err(CalibrationError::OneKind {
            healthy: slices.len() - unhealthy,
            unhealthy,
        });
    }
    let mut largest = vec![0.0_f32; modalities];
    for (slice, sequences) in slices.iter().enumerate() {
        if rule == MaxDivergence::UnhealthySlices && sequences.label == ImageLabel::Healthy {
            continue;
        }
        if sequences.divergence.iter().any(|value| !value.is_finite()) {
            let what = "the divergence M";
            return Err(CalibrationError::NotFinite { slice, what });
        }
        for step in sequences.divergence.chunks_exact(modalities) {
            for (largest, value) in largest.iter_mut().zip(step) {
                *largest = largest.max(*value);
            }
        }
    }
    Ok(largest)
}

/// Algorithm 2: the largest guidance strength whose accuracy is within 99 % of the best.
///
/// `candidates` are strengths with the validation slices classified rightly at each (of the same slices). `None`
/// without candidates.
pub fn select_guidance(candidates: &[(f64, usize)]) -> Option<f64> {
    let best = candidates.iter().map(|(_, correct)| *correct).max()?;
    candidates
        .iter()
        .filter(|(_, correct)| correct * 100 >= best * 99)
        .map(|(guidance, _)| *guidance)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::Semantics;

    const H: ImageLabel = ImageLabel::Healthy;
    const U: ImageLabel = ImageLabel::Unhealthy;

    fn best(cosines: &[f32], labels: &[ImageLabel]) -> Threshold {
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

    fn slice(label: ImageLabel, ratio: f32, divergence: f32) -> CalibrationSlice {
        CalibrationSlice {
            label,
            mse_h: vec![1.0, 1.0, ratio, ratio],
            mse_null: vec![1.0, 1.0, 1.0, 1.0],
            divergence: vec![divergence, 0.0, 0.1, 2.0 * divergence],
        }
    }

    #[test]
    fn calibration_obeys_the_switches() {
        let slices = [slice(U, 3.0, 0.5), slice(H, 1.0, 0.75)];
        let with = |semantics: Semantics| calibrate(&slices, 2, &semantics.switches()).unwrap();
        assert_eq!(with(Semantics::Paper).max_divergence, [0.75, 1.5]);
        assert_eq!(with(Semantics::Reference).max_divergence, [0.5, 1.0]);
        assert_eq!(with(Semantics::Paper).cosine.correct, 2);
        // Sums of 8 and 4 over 4: halfway between 2 and 1, under every reading.
        for semantics in [Semantics::Paper, Semantics::Reference] {
            let ratio = with(semantics).ratio;
            assert_eq!((ratio.threshold, ratio.correct), (1.5, 2));
        }
    }

    #[test]
    fn broken_sequences_are_named() {
        let switches = Semantics::Paper.switches();
        let mut slices = [slice(U, 3.0, 0.5), slice(H, 1.0, 0.75)];
        slices[1].mse_null.pop();
        let error = calibrate(&slices, 2, &switches).unwrap_err().to_string();
        assert!(
            error.contains("slice 1: mse_null has 3 values, 4"),
            "{error}"
        );
        let slices = [slice(U, 3.0, 0.5), slice(H, 1.0, f32::NAN)];
        let error = calibrate(&slices, 2, &switches).unwrap_err().to_string();
        assert!(error.contains("slice 1: the divergence"), "{error}");
    }

    #[test]
    fn guidance_is_the_largest_within_a_percent() {
        let candidates = [(1.0, 995), (2.0, 1000), (3.0, 990), (5.0, 989)];
        assert_eq!(select_guidance(&candidates), Some(3.0));
        assert_eq!(select_guidance(&[]), None);
    }

    #[test]
    fn a_zero_sequence_has_cosine_zero() {
        assert_eq!(cosine(&[0.0; 4], &[1.0; 4], 2), 0.0);
    }
}
