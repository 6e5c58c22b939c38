//! What figures and the viewer show beyond the table, from the records that were kept for them and from the slices.

mod curves;
mod images;
mod masks;
pub(crate) mod pictures;
pub(crate) mod recorded_slices;
mod records;
mod sequences;
mod sweeps;

use std::collections::BTreeMap;

use anofpdm_common::calibration::Calibration;
use anofpdm_common::method::Encoding;
use anofpdm_common::plan::SliceRef;
use anofpdm_common::spec::Decision;
use anofpdm_common::store::artifacts::ArtifactStore;

use super::rows::MethodResult;
use super::{EvaluateError, Finished};
use crate::dataset::Dataset;
use crate::report::exhibits::Exhibits;
use crate::report::slices::SliceTable;

/// What exhibits are made of.
pub(super) struct Sources<'a> {
    pub(super) scored: &'a Finished,
    pub(super) calibration: &'a BTreeMap<Encoding, Calibration>,
    pub(super) decision: Decision,
    pub(super) dataset: &'a Dataset,
    pub(super) artifacts: &'a ArtifactStore,
    /// The test slices, in the order of the plan.
    pub(super) test: &'a [SliceRef],
    pub(super) table: &'a SliceTable,
    pub(super) methods: &'a [MethodResult],
}

/// All that this run kept.
pub(super) fn exhibits(sources: &Sources<'_>) -> Result<Exhibits, EvaluateError> {
    let (end_steps, thresholds) = sweeps::of_figures(sources)?;
    let shown = pictures::shown(sources);
    let kept = records::kept(sources, &shown.slices())?;
    let mut traces = sequences::kept(sources, &kept);
    for found in sequences::of_figures(sources)? {
        if !traces.iter().any(|known| known.row == found.row) {
            traces.push(found);
        }
    }
    Ok(Exhibits {
        traces,
        strengths: sweeps::strengths(sources)?,
        end_steps,
        thresholds,
        pixel_curves: curves::pixel_curves(sources),
        step_maps: pictures::step_maps(sources, &kept)?,
        pictures: pictures::pictures(sources, kept, &shown)?,
    })
}
