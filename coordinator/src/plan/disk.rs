//! What the records of a run take on a disk, before it starts.

use std::collections::BTreeSet;

use anofpdm_common::metrics::RunDetail;
use anofpdm_common::plan::{Cell, CellOutput, ExhibitPlan, SliceRef};
use anofpdm_common::spec::FigureSpec;

/// Bytes that a pixel's score takes in a packed run (docs/benchmarks.md, "Size of records").
const EXACT_SCORE: f64 = 1.6;
const BINNED_SCORE: f64 = 0.85;
/// Run lengths of one mask.
const MASK: f64 = 100.0;
/// Envelope and manifest entry of a record, and the half block that a file leaves empty.
const RECORD: f64 = 15.0 + 12.0 + 64.0 + 2_048.0;
const OVERLAP: f64 = 16.0;
const LENGTH: f64 = 8.0;

/// What the slices of a run are like.
#[derive(Debug, Clone, Copy, Default)]
pub struct SliceRoom {
    /// Pixels of a slice.
    pub pixels: u64,
    /// Of these, foreground: the mean of some slices.
    pub foreground: f64,
    /// Scored modalities.
    pub modalities: u64,
    /// Forward steps.
    pub steps: u32,
}

impl SliceRoom {
    /// Bytes of the records of `cells` on `slices` slices in batches of `batch`.
    pub fn bytes(&self, cells: &[Cell], slices: u64, batch: u32, exhibits: &ExhibitPlan) -> f64 {
        let batches = slices.div_ceil(u64::from(batch).max(1)) as f64;
        let of_cells = cells.iter().map(|cell| {
            let each = self.slice(&cell.output);
            batches * RECORD + slices as f64 * each + self.kept(&cell.output, exhibits)
        });
        of_cells.sum()
    }

    /// Of one slice.
    fn slice(&self, output: &CellOutput) -> f64 {
        let sequence = LENGTH + 4.0 * f64::from(self.steps) * self.modalities as f64;
        match output {
            CellOutput::Traces => 3.0 * sequence,
            CellOutput::Mask {
                figures, scores, ..
            } => {
                let decisions = LENGTH + 10.0 * self.modalities as f64;
                OVERLAP + 8.0 + decisions + self.scores(*scores) + figure_bytes(figures, sequence)
            }
            CellOutput::Candidate { .. } => OVERLAP + 8.0,
            CellOutput::Overlaps { thresholds, .. } => 16.0 + 8.0 * thresholds.len() as f64,
            CellOutput::Restored { scores, .. } => OVERLAP + 4.0 + self.scores(*scores),
            CellOutput::Exhibit { .. } | CellOutput::RestoredExhibit { .. } => 1.0,
        }
    }

    /// Score run and mask.
    fn scores(&self, detail: RunDetail) -> f64 {
        let each = match detail {
            RunDetail::Exact => EXACT_SCORE,
            RunDetail::Histogram => BINNED_SCORE,
        };
        16.0 + each * self.foreground + LENGTH + MASK
    }

    /// What the exhibits of a cell take besides.
    fn kept(&self, output: &CellOutput, exhibits: &ExhibitPlan) -> f64 {
        let map = 20.0 + 2.0 * self.pixels as f64;
        let sequence = LENGTH + 4.0 * f64::from(self.steps) * self.modalities as f64;
        let all: BTreeSet<&SliceRef> = exhibits.maps.iter().chain(&exhibits.sequences).collect();
        all.into_iter()
            .map(|slice| {
                let wanted = match output {
                    CellOutput::Exhibit { map } => exhibits.of(*slice).of_map(*map),
                    CellOutput::RestoredExhibit { .. } => exhibits.of(*slice).of_baseline(),
                    _ => return 0.0,
                };
                let steps = 2.0 * exhibits.step_indices.len() as f64;
                let part = |wanted: bool, bytes: f64| if wanted { bytes } else { 0.0 };
                part(wanted.map, map)
                    + part(wanted.sequences, 5.0 * sequence)
                    + part(wanted.steps, steps * map)
            })
            .sum()
    }
}

fn figure_bytes(figures: &FigureSpec, sequence: f64) -> f64 {
    let traces = if figures.traces { 5.0 * sequence } else { 0.0 };
    let counted = figures.end_step_ratios.len() + figures.fixed_thresholds.len();
    traces + OVERLAP * counted as f64
}
