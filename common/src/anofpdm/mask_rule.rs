//! What a spec can set about the way from a map to its mask (Appendix F).

use serde::{Deserialize, Serialize};

/// Side of the published median filter.
pub const PUBLISHED_MEDIAN: u32 = 5;

/// Largest side of a median filter.
const LARGEST_MEDIAN: u32 = 15;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuantileOf {
    /// Each modality's map as it is, before the median filter: what the public code does. The mean of these quantiles is
    /// compared with the filtered map.
    #[default]
    Map,
    /// The map that is compared: the mean over the modalities, median-filtered, at each modality's level.
    Filtered,
}

/// How a map becomes a mask; the default is what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaskRule {
    /// Side of the median filter, pixels: odd; 1 filters nothing.
    pub median: u32,
    pub quantile_of: QuantileOf,
}

impl Default for MaskRule {
    fn default() -> Self {
        Self {
            median: PUBLISHED_MEDIAN,
            quantile_of: QuantileOf::Map,
        }
    }
}

/// A median filter without a middle, or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a median filter of {0} x {0} pixels: 1 (no filter), 3, 5 .. {LARGEST_MEDIAN} are supported"
)]
pub struct MedianError(u32);

impl MaskRule {
    /// Whether this is what was published: then no plan and no key names it.
    pub fn is_published(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the filter's side.
    ///
    /// # Errors
    /// [`MedianError`] for a side that is even or over 15.
    pub const fn check(&self) -> Result<(), MedianError> {
        if self.median % 2 == 1 && self.median <= LARGEST_MEDIAN {
            Ok(())
        } else {
            Err(MedianError(self.median))
        }
    }
}
