//! Rows of the table: the numbers of a method and strength, over seeds, with intervals over patients.

use std::collections::BTreeMap;

use anofpdm_common::baseline::{Baseline, NATIVE_THRESHOLD, NativeRule};
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::metrics::batch_ap::REFERENCE_BATCH;
use anofpdm_common::metrics::bootstrap::{
    average_precision_interval, mean_interval, patient_histograms,
};
use anofpdm_common::metrics::calibration::{ImageLabel, classify};
use anofpdm_common::metrics::evaluate::{Section, evaluate};
use anofpdm_common::metrics::mse_ratio::classify_ratio;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::RunSource;
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::metrics::summary::{mean, sample_std};
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::Decision;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::work::{Cell, CellOutput, Postprocessing, Trajectory};

use super::records::{CellRecords, Scored};
use super::{AggregateError, Finished};
use crate::calibrate::Calibration;
use crate::report::summary::{Row, RowSettings, Value};
use crate::tune::Tuning;

/// Seed of the bootstrap: intervals of the same records are the same numbers.
const BOOTSTRAP_SEED: u64 = 0;

/// The name and nature of a row.
pub(super) struct RowName {
    pub(super) method: String,
    pub(super) guidance: Option<f64>,
    pub(super) seeds: Vec<u64>,
    pub(super) pixel_labels: bool,
    pub(super) settings: Option<RowSettings>,
}

/// One run of a row over the test slices: statistics of every slice, and where its score runs are.
pub(super) struct Repeat<'a, S: ?Sized> {
    pub(super) slices: Vec<SliceStatistics>,
    pub(super) runs: &'a S,
}

/// The seeds a cell serves, and its number.
type SeededCell<'a> = (&'a [u64], usize);

/// What the cells of one row have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    method: Method,
    /// With the post-processing of the method's authors.
    native: bool,
    /// Strength, to the bit.
    guidance: u64,
    /// Noise scale of a baseline.
    noise_scale: Option<u32>,
}

impl Kind {
    fn of(trajectory: &Trajectory, cell: &Cell) -> Option<Self> {
        let (method, native) = match (trajectory, &cell.output) {
            (Trajectory::Forward(walk), CellOutput::Mask { map, .. }) => {
                (Method::of(walk.encoding, *map)?, false)
            }
            (Trajectory::Restoration(walk), CellOutput::Restored { postprocessing, .. }) => (
                Method::Baseline(walk.baseline),
                matches!(postprocessing, Postprocessing::Native),
            ),
            _ => return None,
        };
        Some(Self {
            method,
            native,
            guidance: cell.guidance.to_bits(),
            noise_scale: cell.setting().map(|setting| setting.noise_scale),
        })
    }

    /// The strength of the row; none for a baseline without.
    fn strength(&self) -> Option<f64> {
        let has = self.method.baseline().is_none_or(Baseline::has_strength);
        has.then_some(f64::from_bits(self.guidance))
    }
}

/// What the validation slices decided, as the rows need it.
pub(super) struct Decisions<'a> {
    pub(super) calibration: &'a BTreeMap<Encoding, Calibration>,
    pub(super) tunings: &'a BTreeMap<Baseline, Tuning>,
    /// Seeds of the spec: what draws no noise serves them all.
    pub(super) seeds: &'a [u64],
    /// By which number a slice is called unhealthy.
    pub(super) decision: Decision,
}

/// All rows of methods, in the order of the report.
pub(super) fn rows(
    finished: &Finished,
    decisions: &Decisions<'_>,
    artifacts: &ArtifactStore,
) -> Result<Vec<Row>, AggregateError> {
    let plan = &finished.plan;
    let mut kinds: Vec<(Kind, Vec<SeededCell<'_>>)> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let trajectory = plan.trajectory(cell)?;
        let Some(kind) = Kind::of(trajectory, cell) else {
            continue;
        };
        let seeds = match trajectory {
            Trajectory::Forward(walk) => std::slice::from_ref(&walk.seed),
            Trajectory::Restoration(walk) => match &walk.seed {
                Some(seed) => std::slice::from_ref(seed),
                None => decisions.seeds,
            },
        };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, cells)) => cells.push((seeds, number)),
            None => kinds.push((kind, vec![(seeds, number)])),
        }
    }
    kinds.sort_by_key(|(kind, _)| (kind.method, kind.native));

    let patients: Vec<u32> = plan.batches.iter().flatten().map(|s| s.subject).collect();
    let mut rows = Vec::new();
    for (kind, cells) in kinds {
        let records: Vec<(&[u64], CellRecords<'_>)> = cells
            .into_iter()
            .map(|(seeds, cell)| (seeds, CellRecords::new(finished, cell, artifacts)))
            .collect();
        let mut undefined = 0;
        let mut repeats = Vec::new();
        for (seeds, runs) in &records {
            let mut slices = Vec::new();
            runs.for_each(|slice, score| {
                undefined += score.undefined;
                slices.push(SliceStatistics {
                    patient: patients[slice],
                    unhealthy: score.overlap.truth > 0,
                    classified_unhealthy: decisions.classify(&kind, score),
                    overlap: score.overlap,
                });
            })?;
            for _ in *seeds {
                repeats.push(Repeat {
                    slices: slices.clone(),
                    runs,
                });
            }
        }
        let name = RowName {
            method: if kind.native {
                format!("{}-native", kind.method)
            } else {
                kind.method.name().to_owned()
            },
            guidance: kind.strength(),
            seeds: records
                .iter()
                .flat_map(|(seeds, _)| *seeds)
                .copied()
                .collect(),
            pixel_labels: decisions.used_pixel_labels(&kind),
            settings: decisions.settings(&kind, plan.semantics),
        };
        rows.extend(both_setups(&name, &repeats)?.into_iter().map(|row| Row {
            undefined_maps: undefined,
            ..row
        }));
    }
    Ok(rows)
}

impl Decisions<'_> {
    /// Whether a slice is called unhealthy: by its cosine or its ratio of MSE sequences, or by any pixel of a baseline's
    /// mask.
    fn classify(&self, kind: &Kind, score: &Scored) -> bool {
        let (Some((encoding, _)), Some(cosine)) = (kind.method.forward(), score.cosine) else {
            return score.overlap.predicted > 0;
        };
        let calibration = self.calibration.get(&encoding);
        let strength = calibration.and_then(|c| c.strength(f64::from_bits(kind.guidance)));
        let Some(strength) = strength else {
            return false;
        };
        let label = match (self.decision, score.mse_ratio) {
            (Decision::Cosine, _) => classify(cosine, strength.cos_threshold),
            (Decision::MseRatio, ratio) => {
                classify_ratio(ratio.unwrap_or(f32::NAN), strength.ratio_threshold)
            }
        };
        label == ImageLabel::Unhealthy
    }

    /// A native rule has no threshold to tune, but the settings may have been.
    fn used_pixel_labels(&self, kind: &Kind) -> bool {
        let Some(tuning) = kind.method.baseline().and_then(|b| self.tunings.get(&b)) else {
            return false;
        };
        tuning.pixel_labels && (!kind.native || tuning.candidates.len() > 1)
    }

    fn settings(&self, kind: &Kind, semantics: Semantics) -> Option<RowSettings> {
        let baseline = kind.method.baseline()?;
        let chosen = self.tunings.get(&baseline).and_then(Tuning::chosen)?;
        let rule = baseline.native_rule().filter(|_| kind.native);
        Some(RowSettings {
            form: semantics.switches().baselines.name().to_owned(),
            noise_scale: kind.noise_scale?,
            strength: kind.strength(),
            threshold: match rule {
                None => Some(chosen.threshold),
                Some(NativeRule::Fixed) => Some(NATIVE_THRESHOLD),
                Some(NativeRule::Otsu) => None,
            },
            postprocessing: match rule {
                None => "common",
                Some(NativeRule::Fixed) => "fixed",
                Some(NativeRule::Otsu) => "otsu",
            }
            .to_owned(),
        })
    }
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
                settings: name.settings.clone(),
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
