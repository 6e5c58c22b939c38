//! From the maps of the baselines to their masks: one threshold tuned on pixel labels, or Otsu's slice by slice.

pub mod otsu;
pub mod tuning;

pub use otsu::otsu;
pub use tuning::{ThresholdCurve, first_best, threshold_overlaps};
