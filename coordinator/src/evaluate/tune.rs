//! The tuning of the baselines: the setting and threshold with the best mixed DICE on the validation
//! slices, chosen with pixel labels as the paper does. Every row it leads to is marked.
//!
//! It reads the records of [`CellOutput::Overlaps`] cells and nothing else; [`mod@crate::evaluate::calibrate`], which
//! decides for AnoFPDM, reads none of them.

use std::collections::BTreeMap;

use anofpdm_common::baseline::{Baseline, Setting};
use anofpdm_common::baseline_masks::{ThresholdCurve, first_best};
use anofpdm_common::plan::{CellOutput, ForwardPlan, Trajectory};
use anofpdm_common::record::Record;
use anofpdm_common::spec::{Grid, ScoreSpec};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::durable::{self, DiskError};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::evaluate::calibrate::{self, CalibrateError};
use crate::ledger::Ledger;
use crate::plan::cells::{Chosen, baselines};
use crate::run_folder::RunFolder;
use crate::stored_record;

/// What the validation slices decided for one baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    pub method: Baseline,
    /// True where pixel labels were read; false where the spec leaves nothing to choose.
    pub pixel_labels: bool,
    pub thresholds: Vec<f32>,
    /// Every setting of the grid, in the order of the spec.
    pub candidates: Vec<Candidate>,
    /// Number of the setting that is scored.
    pub chosen: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Noise scale S, in kept steps.
    pub noise_scale: u32,
    /// Guidance w or scale of the classifier's gradient; 0 for a method without.
    pub strength: f64,
    pub threshold: f32,
    /// Mean mixed DICE at each threshold of the grid; empty where nothing was tuned.
    pub dice: Vec<f64>,
}

impl Tuning {
    pub fn chosen(&self) -> Option<Chosen> {
        let candidate = self.candidates.get(self.chosen)?;
        Some(Chosen {
            setting: Setting {
                noise_scale: candidate.noise_scale,
                strength: candidate.strength,
            },
            threshold: candidate.threshold,
        })
    }

    pub fn best(candidate: &Candidate) -> Option<f64> {
        first_best(&candidate.dice).map(|(_, dice)| dice)
    }

    /// The only candidate of a grid: nothing to choose.
    fn given(method: Baseline, setting: Setting, threshold: f32) -> Self {
        Self {
            method,
            pixel_labels: false,
            thresholds: vec![threshold],
            candidates: vec![Candidate {
                noise_scale: setting.noise_scale,
                strength: setting.strength,
                threshold,
                dice: Vec::new(),
            }],
            chosen: 0,
        }
    }
}

/// Refuses, before anything is computed, validation slices without the masks that the tuning needs.
///
/// # Errors
/// [`CalibrateError::NoMask`] naming method and subject; an empty split; an unreadable store.
pub fn check_masks(score: &ScoreSpec, dataset: &Dataset) -> Result<(), CalibrateError> {
    let tuned = baselines(score);
    let Some((method, _)) = tuned.iter().find(|(_, grid)| grid.only().is_none()) else {
        return Ok(());
    };
    let truth = dataset.store().truth();
    let slices = dataset.validation()?.slices;
    let mut subjects: Vec<&str> = slices.iter().map(|s| dataset.subject(*s)).collect();
    subjects.sort_unstable();
    subjects.dedup();
    for subject in subjects {
        if truth.mask(subject, 0)?.is_none() {
            return Err(CalibrateError::NoMask {
                method: *method,
                subject: subject.to_owned(),
            });
        }
    }
    Ok(())
}

/// Tunes every baseline of `score` from the records of `plan`.
pub fn tune(
    score: &ScoreSpec,
    plan: &ForwardPlan,
    ledger: &Ledger,
    artifacts: &ArtifactStore,
) -> Result<BTreeMap<Baseline, Tuning>, CalibrateError> {
    baselines(score)
        .into_iter()
        .map(|(baseline, grid)| {
            let tuning = match grid.only() {
                Some((setting, threshold)) => Tuning::given(baseline, setting, threshold),
                None => tune_one(baseline, &grid, plan, ledger, artifacts)?,
            };
            Ok((baseline, tuning))
        })
        .collect()
}

fn tune_one(
    baseline: Baseline,
    grid: &Grid,
    plan: &ForwardPlan,
    ledger: &Ledger,
    artifacts: &ArtifactStore,
) -> Result<Tuning, CalibrateError> {
    let mut candidates = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let of_this = matches!(
            plan.trajectory(cell)?,
            Trajectory::Restoration(walk) if walk.baseline == baseline
        );
        let CellOutput::Overlaps { thresholds, .. } = &cell.output else {
            continue;
        };
        let (true, Some(setting)) = (of_this, cell.setting()) else {
            continue;
        };
        let curve = curve(plan, number, thresholds.len(), ledger, artifacts)?;
        let (best, _) = curve.best().ok_or(CalibrateError::NoSlices(baseline))?;
        candidates.push(Candidate {
            noise_scale: setting.noise_scale,
            strength: setting.strength,
            threshold: thresholds[best],
            dice: curve.dice(),
        });
    }
    let values: Vec<f64> = candidates
        .iter()
        .map(|candidate| Tuning::best(candidate).unwrap_or(0.0))
        .collect();
    let (chosen, _) = first_best(&values).ok_or(CalibrateError::NoSlices(baseline))?;
    Ok(Tuning {
        method: baseline,
        pixel_labels: true,
        thresholds: grid.thresholds.clone(),
        candidates,
        chosen,
    })
}

/// Mean DICE of one cell over all validation slices, in their order.
fn curve(
    plan: &ForwardPlan,
    cell: usize,
    thresholds: usize,
    ledger: &Ledger,
    artifacts: &ArtifactStore,
) -> Result<ThresholdCurve, CalibrateError> {
    let mut curve = ThresholdCurve::new(thresholds);
    for batch in 0..plan.batches.len() {
        let key = plan.record_key(batch, cell)?;
        let digest = ledger.record(key).ok_or(CalibrateError::Missing(key))?;
        if let Record::Overlaps(slices) = stored_record::read(artifacts, digest)? {
            for slice in &slices {
                curve.add(slice);
            }
        }
    }
    Ok(curve)
}

/// Writes `calibration/METHOD.json`.
pub fn write(
    folder: &RunFolder,
    tunings: &BTreeMap<Baseline, Tuning>,
) -> Result<(), CalibrateError> {
    for (baseline, tuning) in tunings {
        let path = folder.calibration().join(file(*baseline));
        let text = serde_json::to_vec_pretty(tuning)
            .map_err(|error| DiskError::new("write", &path, error.into()))?;
        durable::write(&path, &text)?;
    }
    Ok(())
}

/// Reads `calibration/METHOD.json`.
pub fn read(folder: &RunFolder, baseline: Baseline) -> Result<Tuning, CalibrateError> {
    calibrate::read_file(&folder.calibration().join(file(baseline)))
}

fn file(baseline: Baseline) -> String {
    format!("{baseline}.json")
}
