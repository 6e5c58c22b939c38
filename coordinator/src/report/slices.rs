//! `report/slices.csv`: a line a test slice and cell.

use anofpdm_common::metrics::{Localization, Overlap};
use anofpdm_common::record::ModalityDecision;

/// Test slices with what each cell made of them; not in `summary.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceTable {
    /// Scored modalities.
    pub modalities: Vec<String>,
    pub slices: Vec<SliceName>,
    pub cells: Vec<SlicesOfCell>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SliceName {
    pub patient: String,
    pub subject: String,
    /// Place in the volume along its head axis.
    pub slice: i64,
    pub unhealthy: bool,
    /// Foreground pixels.
    pub brain_area: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SlicesOfCell {
    pub method: String,
    pub guidance: Option<f64>,
    pub cell: CellSlices,
}

/// One cell's slices, in the order of the slice list.
#[derive(Debug, Clone, PartialEq)]
pub struct CellSlices {
    /// Noise seed; `None` where the cell drew no noise and stands for all of them.
    pub seed: Option<u64>,
    pub slices: Vec<CellSlice>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CellSlice {
    pub called_unhealthy: bool,
    /// Of the mask, made as if the slice were unhealthy.
    pub overlap: Overlap,
    pub localization: Localization,
    pub average_precision: Option<f64>,
    /// The rest is of the AnoFPDM family alone.
    pub cosine: Option<f32>,
    pub q_star: Option<f32>,
    pub modalities: Box<[ModalityDecision]>,
}
