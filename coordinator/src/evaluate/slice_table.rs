//! What became of every test slice in every cell: the lines of `slices.csv`.

use anofpdm_common::metrics::Localization;
use anofpdm_common::plan::SliceRef;
use anofpdm_common::store::slices::StoreError;

use super::position::Subjects;
use super::records::Scored;
use super::rows::Results;
use crate::dataset::Dataset;
use crate::report::slices::{CellSlice, CellSlices, SliceName, SliceTable, SlicesOfCell};

pub(super) fn cell_slice(
    score: &Scored,
    localization: Localization,
    called_unhealthy: bool,
) -> CellSlice {
    CellSlice {
        called_unhealthy,
        overlap: score.overlap,
        localization,
        average_precision: None,
        cosine: score.cosine,
        q_star: score.q_star,
        modalities: score.modalities.as_slice().into(),
    }
}

pub(super) fn add_precisions(cell: &mut CellSlices, precisions: &[Option<f64>]) {
    for (slice, precision) in cell.slices.iter_mut().zip(precisions) {
        slice.average_precision = *precision;
    }
}

/// Names the slices and takes the cells out of `results`.
pub(super) fn slice_table(
    results: &mut Results,
    slices: &[SliceRef],
    dataset: &Dataset,
) -> Result<SliceTable, StoreError> {
    let manifest = dataset.store().manifest();
    let subjects = Subjects::of(dataset, slices)?;
    let named = slices.iter().zip(&results.slices).map(|(slice, test)| {
        let record = manifest.subjects.get(slice.subject as usize);
        SliceName {
            patient: record.map_or_else(String::new, |record| record.patient().to_owned()),
            subject: dataset.subject(*slice).to_owned(),
            slice: subjects.place(*slice),
            unhealthy: test.unhealthy,
            brain_area: test.brain_area,
        }
    });
    let named = named.collect();
    let scored = dataset.scored().iter();
    let modalities = scored.map(|channel| {
        let name = manifest.modalities.get(*channel as usize);
        name.map_or_else(|| channel.to_string(), Clone::clone)
    });
    let cells = results.methods.iter_mut().flat_map(|method| {
        let cells = std::mem::take(&mut method.cells);
        let row = method.rows.first().map(|measured| &measured.row);
        let name = row.map(|row| (row.method.clone(), row.guidance));
        let (method, guidance) = name.unwrap_or_default();
        cells.into_iter().map(move |cell| SlicesOfCell {
            method: method.clone(),
            guidance,
            cell,
        })
    });
    Ok(SliceTable {
        modalities: modalities.collect(),
        slices: named,
        cells: cells.collect(),
    })
}
