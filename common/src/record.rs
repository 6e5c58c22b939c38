//! Records: what one cell says about one batch.
//!
//! Statistics against the pixel truth are integers; floats are what the method itself decided. Slices
//! stand in the order of their batch, so a record needs no slice names: its key fixes them.

mod exhibit;
mod shape;

use serde::{Deserialize, Serialize};

use crate::metrics::overlap::Overlap;
use crate::metrics::{MaskRuns, PackedRun};
use crate::plan::MAX_THRESHOLDS;
use crate::spec::{
    DIFFUSION_STEPS, MAX_BATCH_SLICES, MAX_END_STEP_RATIOS, MAX_FIXED_THRESHOLDS, MAX_SCORED,
};
use crate::wire::{Kind, Message, list};
pub use exhibit::{Exhibit, KeptMap, MapScale, StepMaps};
pub use shape::RecordShape;

/// Longest sequence: a value for each step and scored channel.
const MAX_SEQUENCE: usize = DIFFUSION_STEPS as usize * MAX_SCORED;

const MAX_SLICES: usize = MAX_BATCH_SLICES as usize;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Traces(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<SliceTrace>),
    /// Masks, as statistics against the pixel truth.
    Masks(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<SliceScore>),
    /// A baseline's masks at every threshold of a grid, as statistics against the pixel truth.
    Overlaps(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<ThresholdOverlaps>),
    /// A baseline's masks, as statistics against the pixel truth.
    Restored(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<RestoredScore>),
    /// As [`Self::Masks`], for slices that are called unhealthy by the ratio of their MSE sequences.
    RatedMasks(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<RatedScore>),
    /// What a strength that is no row of the table would have made of the slices (Figure 5).
    Candidates(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<CandidateScore>),
    /// Of the slices that are to be looked at, what is to be seen; nothing of the others.
    Exhibits(#[serde(deserialize_with = "list::<_, _, MAX_SLICES>")] Vec<Option<Box<Exhibit>>>),
}

/// One slice at every threshold of a grid: what the pixel-label tuning of the baselines reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdOverlaps {
    pub pixels: u32,
    pub truth: u32,
    /// For each threshold the pixels predicted (component filter applied) and those of them that are right.
    #[serde(deserialize_with = "list::<_, _, MAX_THRESHOLDS>")]
    pub at: Vec<(u32, u32)>,
}

impl ThresholdOverlaps {
    /// The overlap at threshold number `index`.
    pub fn overlap(&self, index: usize) -> Option<Overlap> {
        self.at
            .get(index)
            .map(|&(predicted, intersection)| Overlap {
                pixels: self.pixels,
                predicted,
                truth: self.truth,
                intersection,
            })
    }
}

/// What one cell of a baseline made of one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoredScore {
    /// Mask (component filter applied) against the pixel truth.
    pub overlap: Overlap,
    /// The threshold on the map: the cell's own, or what its rule found in this slice.
    pub threshold: f32,
    pub run: PackedRun,
    /// The mask that was counted.
    pub mask: MaskRuns,
}

/// One slice at a strength that is no row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CandidateScore {
    /// Mask (component filter applied, whatever the classification) against the pixel truth.
    pub overlap: Overlap,
    /// Cosine of the two MSE sequences (Eq. 18).
    pub cosine: f32,
    /// Sum of MSE^h over the sum of MSE^null ([`mse_ratio`](fn@crate::anofpdm::mse_ratio)).
    pub mse_ratio: f32,
}

/// The sequences of one slice at one strength, each `[steps x modalities]`, modality fastest.
///
/// Nothing here was compared with a mask: calibration is made of these and of image-level labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceTrace {
    /// M_t (Eq. 12).
    #[serde(deserialize_with = "list::<_, _, MAX_SEQUENCE>")]
    pub divergence: Vec<f32>,
    /// MSE^h_t (Eq. 14, 18).
    #[serde(deserialize_with = "list::<_, _, MAX_SEQUENCE>")]
    pub mse_h: Vec<f32>,
    /// MSE^null_t (Eq. 16, 18).
    #[serde(deserialize_with = "list::<_, _, MAX_SEQUENCE>")]
    pub mse_null: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceScore {
    /// Mask (component filter applied, whatever the classification) against the pixel truth.
    pub overlap: Overlap,
    /// Cosine of the two MSE sequences (Eq. 18): the classification is applied when adding up.
    pub cosine: f32,
    /// Threshold Q* on the filtered map; NaN where a map is undefined.
    pub q_star: f32,
    #[serde(deserialize_with = "list::<_, _, MAX_SCORED>")]
    pub modalities: Vec<ModalityDecision>,
    pub run: PackedRun,
    /// The mask that was counted.
    pub mask: MaskRuns,
    /// Data for Figures 2 and 5, where asked for.
    pub figures: Option<Box<SliceFigures>>,
}

/// What one cell made of one slice, with the ratio of its MSE sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RatedScore {
    pub score: SliceScore,
    /// Sum of MSE^h over the sum of MSE^null ([`mse_ratio`](fn@crate::anofpdm::mse_ratio)).
    pub mse_ratio: f32,
}

/// The dynamic hyper-parameters of one modality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModalityDecision {
    /// Index of the largest M (Eq. 21).
    pub end_step: u32,
    pub divergence: f32,
    /// Index into the 101 quantile levels (Algorithm 1).
    pub level_index: u8,
    /// False where the mean of Eq. 20 is empty (`t_e = 0` under `reference`): the map stored is that
    /// step's, the mask empty.
    pub defined: bool,
}

/// Data for Figures 2 and 5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceFigures {
    /// Per-step sequences (Figure 2), where asked for.
    pub traces: Option<FigureTraces>,
    /// Overlap with the end step at each of the asked multiples of t_e (Figure 5c).
    #[serde(deserialize_with = "list::<_, _, MAX_END_STEP_RATIOS>")]
    pub end_step_ratios: Vec<Overlap>,
    /// Overlap at each of the asked fixed thresholds (Figure 5d).
    #[serde(deserialize_with = "list::<_, _, MAX_FIXED_THRESHOLDS>")]
    pub fixed_thresholds: Vec<Overlap>,
}

/// Sequences over the steps, each `[steps x modalities]`, modality fastest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureTraces {
    /// The sequences of calibration, on a test slice.
    pub trace: SliceTrace,
    /// Mean of S_t over the lesion; NaN on a slice without one.
    #[serde(deserialize_with = "list::<_, _, MAX_SEQUENCE>")]
    pub inside: Vec<f32>,
    /// Mean of S_t outside the lesion.
    #[serde(deserialize_with = "list::<_, _, MAX_SEQUENCE>")]
    pub outside: Vec<f32>,
}

impl Record {
    pub fn len(&self) -> usize {
        match self {
            Self::Traces(slices) => slices.len(),
            Self::Masks(slices) => slices.len(),
            Self::Overlaps(slices) => slices.len(),
            Self::Restored(slices) => slices.len(),
            Self::RatedMasks(slices) => slices.len(),
            Self::Candidates(slices) => slices.len(),
            Self::Exhibits(slices) => slices.len(),
        }
    }

    /// True for a record without slices.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Message for Record {
    const KIND: Kind = Kind::Record;

    fn check(&self) -> Result<(), String> {
        if self.is_empty() {
            Err("it has no slices".to_owned())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
