//! What of AnoFPDM needs no libtorch: the decisions on the sequences of a walk, and the way from a map to its mask.
//!
//! Algorithm 1 is [`mod@quantile`], Algorithm 2 [`guidance`], Eq. 18 [`classification`], the end of Algorithm 3
//! [`segmentation`]. The walk itself is `worker/src/anofpdm`.

pub mod calibration;
pub mod calibration_error;
pub mod classification;
pub mod components;
pub mod guidance;
pub mod mask_rule;
pub mod median;
pub mod mse_ratio;
pub mod quantile;
pub mod segmentation;
#[cfg(test)]
mod tests;

pub use calibration::{CalibrationSlice, StrengthCalibration, calibrate, max_divergence};
pub use calibration_error::CalibrationError;
pub use classification::{ImageLabel, LabelThreshold, classify, cosine, search_threshold};
pub use components::{COMPONENT_AREA, Components, component_area_at, components, drop_small};
pub use guidance::select_guidance;
pub use mask_rule::{MaskRule, MedianError, PUBLISHED_MEDIAN, QuantileOf};
pub use median::median;
pub use mse_ratio::{classify_ratio, mse_ratio, search_ratio};
pub use quantile::{
    LEVELS, QuantileLevel, QuantileLevels, divergence_ratio, level_index, quantile,
};
pub use segmentation::{Segmentation, mask_at, segment};
