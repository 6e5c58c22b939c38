//! What the validation slices decide for one guidance strength: the two label thresholds and M_max.
//!
//! Nothing in here can hold a pixel label: the method is tuned on image-level labels only, and the types say so.

use crate::semantics::{MaxDivergence, Switches};

use super::calibration_error::CalibrationError;
use super::classification::{ImageLabel, LabelThreshold, cosine, search_threshold};
use super::mse_ratio::{mse_ratio, search_ratio};

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

/// Everything calibration finds for one guidance strength and encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct StrengthCalibration {
    pub cosine: LabelThreshold,
    /// The threshold on the ratio of the MSE sequences, which is not in the paper.
    pub ratio: LabelThreshold,
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
) -> Result<StrengthCalibration, CalibrationError> {
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
    Ok(StrengthCalibration {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::Semantics;

    const H: ImageLabel = ImageLabel::Healthy;
    const U: ImageLabel = ImageLabel::Unhealthy;

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
}
