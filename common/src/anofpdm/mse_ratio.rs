//! Healthy or unhealthy by the ratio of the MSE sequences: not in the paper, whose decision is the cosine of the same two
//! sequences (Eq. 18, [`super::classification`]). Like that one it is tuned on image-level labels only.
//!
//! A slice with a lesion is further from its healthy-guided prediction than from its unguided one, so its ratio is high.

use crate::semantics::CosineSearch;

use super::calibration_error::CalibrationError;
use super::classification::{ImageLabel, LabelThreshold, search};

/// Sum of MSE^h over the sum of MSE^null, all steps and modalities; both sums are formed in f64 in order.
///
/// 1 where both are 0, and never infinite: the largest f32 stands for what is beyond it. NaN where a value is NaN.
pub fn mse_ratio(mse_h: &[f32], mse_null: &[f32]) -> f32 {
    let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>();
    let (h, null) = (sum(mse_h), sum(mse_null));
    let ratio = if h == null { 1.0 } else { h / null };
    (ratio as f32).clamp(0.0, f32::MAX)
}

/// Whether a slice with this ratio is called unhealthy. A NaN ratio never is.
pub fn classify_ratio(ratio: f32, threshold: f32) -> ImageLabel {
    if ratio >= threshold {
        ImageLabel::Unhealthy
    } else {
        ImageLabel::Healthy
    }
}

/// The threshold with the best accuracy over the midpoints of the sorted ratios of the validation slices and the two
/// thresholds outside all of them; of equals the highest, which calls the fewest slices unhealthy, as the lowest cosine
/// does. All semantics search it so: no other search is published.
///
/// # Errors
/// When the slices are all of one kind or a ratio is not finite.
///
/// # Panics
/// When `ratios` and `labels` differ in number.
pub fn search_ratio(
    ratios: &[f32],
    labels: &[ImageLabel],
) -> Result<LabelThreshold, CalibrationError> {
    // At or above a threshold is at or below its negative, and changing a sign loses nothing.
    let negative: Vec<f32> = ratios.iter().map(|ratio| -ratio).collect();
    let found = search(
        "the MSE ratio",
        &negative,
        labels,
        CosineSearch::BestAccuracy,
    )?;
    Ok(LabelThreshold {
        threshold: -found.threshold,
        ..found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: ImageLabel = ImageLabel::Healthy;
    const U: ImageLabel = ImageLabel::Unhealthy;

    #[test]
    fn sums_are_divided_not_steps() {
        assert_eq!(mse_ratio(&[3.0, 1.0], &[1.0, 1.0]), 2.0);
        assert_eq!(mse_ratio(&[0.0; 4], &[0.0; 4]), 1.0);
        assert_eq!(mse_ratio(&[0.0], &[0.5]), 0.0);
        assert_eq!(mse_ratio(&[0.5], &[0.0]), f32::MAX);
        assert!(mse_ratio(&[f32::NAN], &[1.0]).is_nan());
        // In float32 the small values would be lost in the large one.
        let mut many = vec![1.0_f32; 10_001];
        many[0] = 1e8;
        assert_eq!(mse_ratio(&many, &[1.0]), 100_010_000.0);
    }

    #[test]
    fn unhealthy_is_at_or_above_the_threshold() {
        assert_eq!(classify_ratio(1.5, 1.5), U);
        assert_eq!(classify_ratio(1.5_f32.next_down(), 1.5), H);
        assert_eq!(classify_ratio(f32::NAN, 1.5), H);
    }

    #[test]
    fn the_best_accuracy_is_found_from_above() {
        let found = search_ratio(&[1.0, 1.5, 2.5, 3.0], &[H, H, U, U]).unwrap();
        assert_eq!((found.threshold, found.correct, found.slices), (2.0, 4, 4));
        // One error at 2.75 and one at 1.25: the higher is taken, which calls fewer slices unhealthy.
        let found = search_ratio(&[1.0, 1.5, 2.5, 3.0], &[H, U, H, U]).unwrap();
        assert_eq!((found.threshold, found.correct), (2.75, 3));
        // Where healthy slices have the high ratios nothing, or everything, is called unhealthy.
        let none = search_ratio(&[1.0, 2.0, 3.0], &[U, H, H]).unwrap();
        assert!(none.threshold > 3.0 && none.correct == 2);
        let all = search_ratio(&[1.0, 2.0, 3.0], &[U, U, H]).unwrap();
        assert_eq!((all.threshold, all.correct), (1.0, 2));
    }

    #[test]
    fn what_decides_nothing_is_said() {
        let error = search_ratio(&[1.0, 2.0], &[U, U]).unwrap_err().to_string();
        assert!(error.contains("0 healthy and 2 unhealthy"), "{error}");
        let error = search_ratio(&[1.0, f32::NAN], &[U, H]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "validation slice 1: the MSE ratio is not a finite number"
        );
    }
}
