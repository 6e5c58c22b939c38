//! What was decided of each slice: `SUBJECT.json`.

use serde::{Deserialize, Serialize};

/// Of the file.
pub const FORMAT: u32 = 1;

/// One subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectResult {
    pub format: u32,
    pub subject: String,
    /// Name of the run whose networks and thresholds these are.
    pub run: String,
    pub method: String,
    /// Guidance strength, or the strength of a baseline.
    pub guidance: f64,
    pub seed: u64,
    pub semantics: String,
    pub precision: String,
    /// Whether this process computes as the run did: device, libtorch, instructions, threads. Else last bits may differ.
    pub same_profile: bool,
    /// Components up to this many pixels of a slice were dropped.
    pub component_area: u32,
    /// How the files came from the slices.
    pub map_interpolation: String,
    pub mask_interpolation: String,
    /// Whether the mask is empty on slices called healthy.
    pub healthy_emptied: bool,
    /// In the order of the store; slices of the volume that are not here are 0 in both files.
    pub slices: Vec<SliceResult>,
}

/// One slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceResult {
    /// Place along the head axis of the volume.
    pub slice: i32,
    /// What the run's threshold on its deciding number calls it; of a baseline whether its mask has a pixel.
    pub unhealthy: bool,
    /// Eq. 18; of methods of the AnoFPDM family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mse_ratio: Option<f32>,
    /// Q* (Algorithm 1), or the threshold of a baseline. NaN (null in the file) where the map is undefined.
    #[serde(deserialize_with = "null_is_nan")]
    pub threshold: f32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<ModalityResult>,
    /// Pixels of the mask of the slice as it is stored.
    pub mask_pixels: u32,
}

/// One scored modality of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModalityResult {
    /// Eq. 21: kept index of the end step.
    pub t_e: i64,
    /// M there.
    pub divergence: f32,
    /// Quantile level.
    pub level: f32,
    /// Whether the map has a mean (t_e = 0 under `reference` has none).
    pub defined: bool,
}

fn null_is_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(f32::NAN))
}
