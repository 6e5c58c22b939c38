//! Rows of the table: the numbers of a method and strength, over seeds, with intervals over patients.

use std::collections::BTreeMap;

use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::metrics::batch_ap::REFERENCE_BATCH;
use anofpdm_common::metrics::bootstrap::{
    average_precision_interval, mean_interval, patient_histograms,
};
use anofpdm_common::metrics::calibration::{ImageLabel, classify};
use anofpdm_common::metrics::evaluate::{Section, evaluate};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::RunSource;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::metrics::summary::{mean, sample_std};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::work::CellOutput;

use super::records::CellRecords;
use super::{AggregateError, Finished};
use crate::calibrate::Calibration;
use crate::report::summary::{Row, Value};

/// Seed of the bootstrap: intervals of the same records are the same numbers.
const BOOTSTRAP_SEED: u64 = 0;

/// The name and nature of a row.
pub(super) struct RowName {
    pub(super) method: String,
    pub(super) guidance: Option<f64>,
    pub(super) seeds: Vec<u64>,
    pub(super) pixel_labels: bool,
}

/// One run of a row over the test slices: statistics of every slice, and where its score runs are.
pub(super) struct Repeat<'a, S: ?Sized> {
    pub(super) slices: Vec<SliceStatistics>,
    pub(super) runs: &'a S,
}

/// The cells of one method at one strength: a seed and the cell's number for each.
struct Group {
    method: Method,
    guidance: f64,
    cells: Vec<(u64, usize)>,
}

/// All rows of methods, in the order of the report.
pub(super) fn rows(
    finished: &Finished,
    calibration: &BTreeMap<Encoding, Calibration>,
    artifacts: &ArtifactStore,
) -> Result<Vec<Row>, AggregateError> {
    let plan = &finished.plan;
    let mut groups: Vec<Group> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let trajectory = plan.trajectory(cell)?;
        let CellOutput::Mask { map, .. } = &cell.output else {
            continue;
        };
        let Some(method) = Method::of(trajectory.encoding, *map) else {
            continue;
        };
        let known = groups.iter_mut().find(|group| {
            group.method == method && group.guidance.to_bits() == cell.guidance.to_bits()
        });
        match known {
            Some(group) => group.cells.push((trajectory.seed, number)),
            None => groups.push(Group {
                method,
                guidance: cell.guidance,
                cells: vec![(trajectory.seed, number)],
            }),
        }
    }
    groups.sort_by_key(|group| group.method);

    let patients: Vec<u32> = plan.batches.iter().flatten().map(|s| s.subject).collect();
    let mut rows = Vec::new();
    for Group {
        method,
        guidance,
        cells,
    } in groups
    {
        let threshold = calibration
            .get(&method.encoding())
            .and_then(|calibration| calibration.strength(guidance))
            .map_or(f32::NAN, |strength| strength.cos_threshold);
        let records: Vec<CellRecords<'_>> = cells
            .iter()
            .map(|(_, cell)| CellRecords::new(finished, *cell, artifacts))
            .collect();
        let mut undefined = 0;
        let mut repeats = Vec::new();
        for runs in &records {
            let mut slices = Vec::new();
            runs.for_each(|slice, score| {
                undefined += score.modalities.iter().filter(|m| !m.defined).count() as u64;
                slices.push(SliceStatistics {
                    patient: patients[slice],
                    unhealthy: score.overlap.truth > 0,
                    classified_unhealthy: classify(score.cosine, threshold)
                        == ImageLabel::Unhealthy,
                    overlap: score.overlap,
                });
            })?;
            repeats.push(Repeat { slices, runs });
        }
        let name = RowName {
            method: method.name().to_owned(),
            guidance: Some(guidance),
            seeds: cells.iter().map(|(seed, _)| *seed).collect(),
            pixel_labels: false,
        };
        rows.extend(both_setups(&name, &repeats)?.into_iter().map(|row| Row {
            undefined_maps: undefined,
            ..row
        }));
    }
    Ok(rows)
}

/// The two rows of one method: mixed and unhealthy.
pub(super) fn both_setups<S: RunSource + ?Sized>(
    name: &RowName,
    repeats: &[Repeat<'_, S>],
) -> Result<Vec<Row>, S::Error> {
    let evaluations = repeats
        .iter()
        .map(|repeat| evaluate(&repeat.slices, Some(repeat.runs), REFERENCE_BATCH))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<SliceStatistics> = repeats
        .iter()
        .flat_map(|repeat| repeat.slices.iter().copied())
        .collect();
    Setup::ALL
        .into_iter()
        .map(|setup| {
            let sections: Vec<Section> = evaluations
                .iter()
                .map(|evaluation| match setup {
                    Setup::Mixed => evaluation.mixed,
                    Setup::Unhealthy => evaluation.unhealthy,
                })
                .collect();
            let interval =
                |measure: fn(Overlap) -> f64| mean_interval(&all, setup, measure, BOOTSTRAP_SEED);
            let histograms = repeats
                .iter()
                .map(|repeat| patient_histograms(repeat.runs, &repeat.slices, setup))
                .collect::<Result<Vec<_>, _>>()?;
            let auprc_interval = average_precision_interval(&histograms, BOOTSTRAP_SEED);
            Ok(Row {
                method: name.method.clone(),
                guidance: name.guidance,
                setup,
                seeds: name.seeds.clone(),
                dice: value(&sections, |s| s.dice, interval(Overlap::dice)),
                iou: value(&sections, |s| s.iou, interval(Overlap::iou)),
                auprc: value(&sections, |s| s.auprc, auprc_interval),
                auprc_batch: value(&sections, |s| s.auprc_batch, None),
                pixel_labels: name.pixel_labels,
                undefined_maps: 0,
            })
        })
        .collect()
}

fn value(
    sections: &[Section],
    metric: fn(&Section) -> Option<f64>,
    ci95: Option<[f64; 2]>,
) -> Value {
    let per_seed: Vec<Option<f64>> = sections.iter().map(metric).collect();
    Value {
        mean: mean(&per_seed),
        std: sample_std(&per_seed),
        per_seed,
        ci95,
    }
}
