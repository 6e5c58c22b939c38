//! Calibration of a run: traces and image-level labels in, thresholds out.
//!
//! Pixel labels cannot reach this code: it is handed [`ImageReader`], which has no way to a mask, and
//! records of traces, which were never compared with one.

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_common::anofpdm::{
    self, CalibrationError, CalibrationSlice, ImageLabel, select_guidance,
};
use anofpdm_common::baseline::Baseline;
use anofpdm_common::calibration::{CalibratedStrength, Calibration};
use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::plan::{ForwardPlan, PlanError, SliceRef, Trajectory};
use anofpdm_common::record::Record;
use anofpdm_common::spec::{Decision, Guidance};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::store::slices::{ImageReader, StoreError};
use serde::de::DeserializeOwned;

use crate::dataset::{Dataset, DatasetError};
use crate::ledger::Ledger;
use crate::plan::cells::TableStrength;
use crate::run_folder::RunFolder;
use crate::stored_record::{self, RecordError};

/// Largest calibration file read, bytes.
const FILE_LIMIT: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error(transparent)]
    Undecided(#[from] CalibrationError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("calibration record {0} is missing: run again")]
    Missing(Digest),
    #[error(
        "{method} is tuned with pixel labels, and validation subject {subject} has no mask: give it one noise_scale, \
         strength and threshold in [score.baseline.{method}] (then nothing is tuned), or leave the method out"
    )]
    NoMask { method: Baseline, subject: String },
    #[error("{0} has no validation slice or no setting to be tuned on. This is a bug.")]
    NoSlices(Baseline),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{path}: {message}; delete it and run again")]
    File { path: String, message: String },
}

/// The strengths that are rows of the table, and the other candidates.
pub fn table_strengths(
    calibration: &Calibration,
    guidance: &Guidance,
) -> (Vec<TableStrength>, Vec<TableStrength>) {
    calibration
        .strengths
        .iter()
        .map(|strength| TableStrength {
            guidance: strength.guidance,
            max_divergence: strength.max_divergence.clone(),
            selected: strength.selected,
        })
        .partition(|strength| match guidance {
            Guidance::List(_) => true,
            Guidance::Select { .. } => strength.selected,
        })
}

/// Refuses, before anything is computed, validation slices of one kind.
///
/// # Errors
/// [`CalibrationError::OneKind`]; an empty split; an unreadable store.
pub fn check_labels(dataset: &Dataset) -> Result<(), CalibrateError> {
    let images = dataset.store().images();
    let (mut healthy, mut unhealthy) = (0, 0);
    let subjects = dataset.plan().subjects;
    for label in labels(&subjects, &dataset.validation()?.slices, &images)? {
        match label {
            ImageLabel::Healthy => healthy += 1,
            ImageLabel::Unhealthy => unhealthy += 1,
        }
    }
    if healthy == 0 || unhealthy == 0 {
        return Err(CalibrationError::OneKind { healthy, unhealthy }.into());
    }
    Ok(())
}

/// Calibrates every encoding of `plan` from its records; Algorithm 2 goes by the accuracy of `decision`.
pub fn calibrate(
    plan: &ForwardPlan,
    decision: Decision,
    ledger: &Ledger,
    artifacts: &ArtifactStore,
    images: &ImageReader,
) -> Result<BTreeMap<Encoding, Calibration>, CalibrateError> {
    let slices: Vec<SliceRef> = plan.batches.iter().flatten().copied().collect();
    let labels = labels(&plan.data.subjects, &slices, images)?;
    let switches = plan.semantics.switches();
    let modalities = plan.data.scored.len();
    let mut result: BTreeMap<Encoding, Calibration> = BTreeMap::new();
    let mut correct: BTreeMap<Encoding, Vec<(f64, usize)>> = BTreeMap::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let encoding = match plan.trajectory(cell)? {
            Trajectory::Forward(walk) => walk.encoding,
            // Tuned elsewhere, with labels that are none of this function's business.
            Trajectory::Restoration(_) => continue,
        };
        let traces = traces(plan, number, &labels, ledger, artifacts)?;
        let found = anofpdm::calibrate(&traces, modalities, &switches)?;
        correct.entry(encoding).or_default().push((
            cell.guidance,
            match decision {
                Decision::Cosine => found.cosine.correct,
                Decision::MseRatio => found.ratio.correct,
            },
        ));
        result
            .entry(encoding)
            .or_insert_with(|| Calibration {
                encoding,
                strengths: Vec::new(),
            })
            .strengths
            .push(CalibratedStrength {
                guidance: cell.guidance,
                cos_threshold: found.cosine.threshold,
                accuracy: found.cosine.accuracy(),
                ratio_threshold: found.ratio.threshold,
                ratio_accuracy: found.ratio.accuracy(),
                max_divergence: found.max_divergence,
                selected: false,
            });
    }
    for (encoding, calibration) in &mut result {
        let chosen = correct.get(encoding).and_then(|list| select_guidance(list));
        for strength in &mut calibration.strengths {
            strength.selected = chosen == Some(strength.guidance);
        }
    }
    Ok(result)
}

/// The sequences of one cell over all validation slices, with their labels.
pub(crate) fn traces(
    plan: &ForwardPlan,
    cell: usize,
    labels: &[ImageLabel],
    ledger: &Ledger,
    artifacts: &ArtifactStore,
) -> Result<Vec<CalibrationSlice>, CalibrateError> {
    let mut slices = Vec::with_capacity(labels.len());
    for batch in 0..plan.batches.len() {
        let key = plan.record_key(batch, cell)?;
        let digest = ledger.record(key).ok_or(CalibrateError::Missing(key))?;
        if let Record::Traces(traces) = stored_record::read(artifacts, digest)? {
            slices.extend(
                traces
                    .into_iter()
                    .zip(&labels[slices.len()..])
                    .map(|(trace, label)| CalibrationSlice {
                        label: *label,
                        mse_h: trace.mse_h,
                        mse_null: trace.mse_null,
                        divergence: trace.divergence,
                    })
                    .collect::<Vec<_>>(),
            );
        }
    }
    Ok(slices)
}

/// Image-level labels of slices, from the store.
fn labels(
    subjects: &[String],
    slices: &[SliceRef],
    images: &ImageReader,
) -> Result<Vec<ImageLabel>, CalibrateError> {
    let mut of_subject: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    slices
        .iter()
        .map(|slice| {
            let labels = match of_subject.entry(slice.subject) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(images.subject(&subjects[slice.subject as usize])?.labels)
                }
            };
            Ok(match labels.get(slice.position as usize) {
                Some(0) | None => ImageLabel::Healthy,
                Some(_) => ImageLabel::Unhealthy,
            })
        })
        .collect()
}

/// Writes `calibration/ENCODING.json`.
pub fn write(
    folder: &RunFolder,
    calibration: &BTreeMap<Encoding, Calibration>,
) -> Result<(), CalibrateError> {
    for (encoding, calibration) in calibration {
        let path = folder
            .calibration()
            .join(format!("{}.json", encoding.name()));
        let text = serde_json::to_vec_pretty(calibration)
            .map_err(|error| DiskError::new("write", &path, error.into()))?;
        durable::write(&path, &text)?;
    }
    Ok(())
}

/// Reads `calibration/ENCODING.json`.
pub fn read(folder: &RunFolder, encoding: Encoding) -> Result<Calibration, CalibrateError> {
    read_file(
        &folder
            .calibration()
            .join(format!("{}.json", encoding.name())),
    )
}

/// Reads a file of the calibration folder.
pub(crate) fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, CalibrateError> {
    use std::io::Read;

    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text))
        .map_err(|error| DiskError::new("read", path, error))?;
    serde_json::from_str(&text).map_err(|error| CalibrateError::File {
        path: path.display().to_string(),
        message: error.to_string(),
    })
}
