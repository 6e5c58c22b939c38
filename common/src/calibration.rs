//! What calibration found, as `calibration/ENCODING.json` holds it, and what a slice is called by it.

use serde::{Deserialize, Serialize};

use crate::anofpdm::{ImageLabel, classify, classify_ratio};
use crate::method::Encoding;
use crate::spec::Decision;
use crate::strength::Strength;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub encoding: Encoding,
    /// In the order of the spec.
    pub strengths: Vec<CalibratedStrength>,
}

/// What the validation slices decided for one guidance strength.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedStrength {
    pub guidance: f64,
    /// Cos_w: slices at or below it are called unhealthy.
    pub cos_threshold: f32,
    /// Accuracy of that decision.
    pub accuracy: f64,
    /// Ratio of the MSE sequences: slices at or above it are called unhealthy where the spec's `decision` is `mse-ratio`.
    pub ratio_threshold: f32,
    /// Accuracy of that decision.
    pub ratio_accuracy: f64,
    /// M_max of each scored modality.
    pub max_divergence: Vec<f32>,
    /// Chosen by Algorithm 2.
    pub selected: bool,
}

/// The threshold of a strength on the number that a spec decides by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelRule {
    pub decision: Decision,
    pub threshold: f32,
}

impl Calibration {
    pub fn strength(&self, guidance: f64) -> Option<&CalibratedStrength> {
        self.strengths
            .iter()
            .find(|strength| Strength(strength.guidance) == Strength(guidance))
    }
}

impl CalibratedStrength {
    pub const fn label_rule(&self, decision: Decision) -> LabelRule {
        LabelRule {
            decision,
            threshold: match decision {
                Decision::Cosine => self.cos_threshold,
                Decision::MseRatio => self.ratio_threshold,
            },
        }
    }
}

impl LabelRule {
    /// The label of a slice with this cosine and this ratio of its MSE sequences; the one that does not decide may be NaN.
    pub fn label(&self, cosine: f32, ratio: f32) -> ImageLabel {
        match self.decision {
            Decision::Cosine => classify(cosine, self.threshold),
            Decision::MseRatio => classify_ratio(ratio, self.threshold),
        }
    }
}
