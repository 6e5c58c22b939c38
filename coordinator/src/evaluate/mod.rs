//! Adds records up: from verified records to the rows of the table. No device is needed.

pub mod calibrate;
mod checks;
mod classification;
mod comparison;
mod cost;
mod data;
pub(crate) mod difference;
pub(crate) mod exhibits;
mod fingerprint;
mod localized;
pub(crate) mod measured;
pub mod outside;
mod patients;
mod position;
mod ranking;
mod records;
mod rows;
mod slice_table;
mod tally;
mod trivial;
mod truth;
pub mod tune;

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use anofpdm_common::baseline::Baseline;
use anofpdm_common::calibration::Calibration;
use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::plan::{ForwardPlan, MAX_PLAN_BYTES, Plan, PlanError, SliceRef, Stage};
use anofpdm_common::spec::ScoreSpec;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::slices::StoreError;

use crate::dataset::DatasetError;
use crate::ledger::Ledger;
use crate::plan::cells::{baselines, encodings, seeds_served};
use crate::report::summary::{Audits, CalibrationRow, Coverage, State, Summary, TuningRow};
use crate::run_folder::RunFolder;
use crate::spec_file::{SpecFile, SpecFileError};
use crate::stored_record::RecordError;
use crate::version::Program;
use calibrate::CalibrateError;
use checks::Evidence;
use measured::Measured;
use outside::{OutsideError, RowFile};
use patients::Patients;
use rows::Decisions;
use tune::Tuning;

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("the run has no {0} stage yet: run it first")]
    NoStage(&'static str),
    #[error("{missing} of {planned} records are not there yet: run again to go on")]
    Incomplete { missing: usize, planned: usize },
    #[error("{0}")]
    Spec(#[from] SpecFileError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error("record {0} holds masks of another size than the slices of the store. This is a bug.")]
    Mask(Digest),
    #[error("record {0} is not of the kind its cell asked for. This is a bug.")]
    Kind(Digest),
}

/// A forward plan with the record that counts for each batch and cell.
struct Finished {
    plan: ForwardPlan,
    /// `[batch][cell]`: key and record.
    records: Vec<Vec<(Digest, Digest)>>,
}

impl Finished {
    fn load(
        stage: Stage,
        ledger: &Ledger,
        artifacts: &ArtifactStore,
    ) -> Result<Self, EvaluateError> {
        let (digest, _) = ledger
            .planned
            .get(&stage)
            .ok_or(EvaluateError::NoStage(stage.name()))?;
        let Plan::Forward(plan) = Plan::from_json(&artifacts.get(digest, MAX_PLAN_BYTES)?)? else {
            return Err(EvaluateError::NoStage(stage.name()));
        };
        let keys = plan.record_keys()?;
        let all = || keys.iter().flatten();
        let missing = all().filter(|key| ledger.record(**key).is_none()).count();
        if missing > 0 {
            return Err(EvaluateError::Incomplete {
                missing,
                planned: all().count(),
            });
        }
        let records = keys
            .into_iter()
            .map(|cells| {
                cells
                    .into_iter()
                    .filter_map(|key| Some((key, ledger.record(key)?)))
                    .collect()
            })
            .collect();
        Ok(Self { plan, records })
    }
}

impl Finished {
    /// Key and record of each batch and cell that numbers of the table are made of.
    fn counted(&self) -> impl Iterator<Item = (Digest, Digest)> + '_ {
        self.records.iter().flat_map(|cells| {
            let cells = cells.iter().zip(&self.plan.cells);
            cells
                .filter(|(_, cell)| cell.output.counts())
                .map(|(record, _)| *record)
        })
    }
}

pub fn summarise(
    spec_file: &SpecFile,
    folder: &RunFolder,
    ledger: &Ledger,
) -> Result<Summary, EvaluateError> {
    summarise_with(spec_file, folder, ledger, &[])
}

/// The same with rows of other programs.
pub fn summarise_with(
    spec_file: &SpecFile,
    folder: &RunFolder,
    ledger: &Ledger,
    outside: &[RowFile],
) -> Result<Summary, EvaluateError> {
    let artifacts = ArtifactStore::open(&folder.records())?;
    let calibrated = Finished::load(Stage::Calibrate, ledger, &artifacts)?;
    let scored = Finished::load(Stage::Score, ledger, &artifacts)?;
    let score = &spec_file.spec.score;
    let calibration = encodings(score)
        .into_iter()
        .map(|encoding| Ok((encoding, calibrate::read(folder, encoding)?)))
        .collect::<Result<BTreeMap<Encoding, Calibration>, CalibrateError>>()?;
    let tunings = baselines(score)
        .into_iter()
        .map(|(baseline, _)| Ok((baseline, tune::read(folder, baseline)?)))
        .collect::<Result<BTreeMap<Baseline, Tuning>, CalibrateError>>()?;
    let dataset = spec_file.dataset()?;

    let decisions = Decisions {
        calibration: &calibration,
        tunings: &tunings,
        seeds: &score.seeds,
        decision: score.decision,
    };
    let mut results = rows::results(&scored, &decisions, &dataset, &artifacts)?;
    let (mut trivial, mut warnings) = trivial::rows(&dataset, &scored.plan)?;
    let test: Vec<SliceRef> = scored.plan.batches.iter().flatten().copied().collect();
    let slices = slice_table::slice_table(&mut results, &test, &dataset)?;
    let patients = Patients::of(&dataset, &test);
    let taken = results.methods.iter().flat_map(|method| &method.rows);
    let taken: Vec<&str> = taken
        .chain(&trivial)
        .map(|one| one.row.method.as_str())
        .collect();
    let (mut outside, notes) = outside::rows(
        outside,
        &slices.slices,
        &results.slices,
        dataset.digest(),
        &taken,
    )?;
    warnings.extend(notes);
    let of_methods = results
        .methods
        .iter_mut()
        .flat_map(|method| &mut method.rows);
    for measured in of_methods.chain(&mut outside).chain(&mut trivial) {
        measured.row.volume = patients.volume(measured);
    }
    let sources = classification::Sources {
        dataset: &dataset,
        calibrated: &calibrated,
        scored: &scored,
        calibration: &calibration,
        decision: score.decision,
        ledger,
        artifacts: &artifacts,
    };
    let shown = exhibits::Sources {
        scored: &scored,
        calibration: &calibration,
        decision: score.decision,
        dataset: &dataset,
        artifacts: &artifacts,
        test: &test,
        table: &slices,
        methods: &results.methods,
    };
    let (classification, exhibits) = rayon::join(
        || classification::classifications(&sources, &results),
        || exhibits::exhibits(&shown),
    );
    let (classification, exhibits) = (classification?, exhibits?);
    let coverage = coverage(&scored, score, ledger);
    let audits = audits(ledger);
    let checks = checks::checks(&Evidence {
        spec: &spec_file.spec,
        size: dataset.store().manifest().size,
        component_area: scored.plan.component_area,
        coverage,
        audits: &audits,
        validation_slices: calibrated.plan.batches.iter().map(Vec::len).sum(),
        test: &results.slices,
        methods: &results.methods,
        trivial: &trivial,
        calibration: &calibration,
        classification: &classification,
    });
    let failed = checks.iter().filter(|check| check.state != State::Ok);
    warnings.extend(failed.map(|check| check.text.clone()));
    let of_methods = results.methods.iter().flat_map(|method| &method.rows);
    let measured: Vec<&Measured> = of_methods.chain(&outside).chain(&trivial).collect();
    let (paired, ranking) = rayon::join(
        || comparison::paired(&measured),
        || ranking::rankings(&measured),
    );
    Ok(Summary {
        run: spec_file.spec.name.clone(),
        fingerprint: fingerprint::fingerprint([&calibrated, &scored]),
        spec_digest: spec_file.digest()?,
        semantics: scored.plan.semantics.name().to_owned(),
        precision: scored.plan.precision.name().to_owned(),
        precision_reason: ledger
            .precision
            .as_ref()
            .map(|chosen| chosen.reason.clone()),
        device: scored.plan.profile.device.clone(),
        coverage,
        audits,
        rows: measured
            .iter()
            .map(|measured| measured.row.clone())
            .collect(),
        data: Some(data::data(&dataset, &slices, &classification)),
        scored: ledger.scored.map(rfc3339),
        program: Some(Program::this()),
        cost: cost::cost(&scored, ledger),
        calibration: calibration_rows(&calibration),
        tuning: tuning_rows(&tunings),
        checks,
        classification,
        paired,
        ranking,
        per_patient: patients.results(&measured),
        warnings,
        slices,
        exhibits,
    })
}

fn rfc3339(unix_seconds: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(unix_seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Slices x cells x seeds, with what was delivered more than once.
fn coverage(scored: &Finished, score: &ScoreSpec, ledger: &Ledger) -> Coverage {
    let served: Vec<u64> = scored
        .plan
        .cells
        .iter()
        .map(|cell| {
            let trajectory = scored.plan.trajectory(cell).ok();
            match cell.output.counts() {
                true => trajectory.map_or(1, |trajectory| seeds_served(trajectory, score)),
                false => 0,
            }
        })
        .collect();
    let slices_of: BTreeMap<Digest, u64> = scored
        .plan
        .batches
        .iter()
        .zip(&scored.records)
        .flat_map(|(batch, cells)| {
            let of_cells = cells.iter().zip(&served);
            of_cells.map(|((key, _), served)| (*key, batch.len() as u64 * served))
        })
        .collect();
    let planned: usize = scored.plan.batches.iter().map(Vec::len).sum();
    let count = |keys: &[Digest]| keys.iter().filter_map(|key| slices_of.get(key)).sum();
    Coverage {
        planned: planned as u64 * served.iter().sum::<u64>(),
        scored: slices_of.values().sum(),
        duplicates: count(&ledger.duplicates),
        conflicts: count(&ledger.conflicts),
    }
}

fn audits(ledger: &Ledger) -> Audits {
    Audits {
        shards: ledger.audits.shards,
        agreed: ledger.audits.agreed,
        conflicts: ledger.audits.conflicts,
        distrusted: ledger.distrusted.keys().cloned().collect(),
    }
}

fn calibration_rows(calibration: &BTreeMap<Encoding, Calibration>) -> Vec<CalibrationRow> {
    calibration
        .values()
        .flat_map(|calibration| {
            calibration.strengths.iter().map(|strength| CalibrationRow {
                encoding: calibration.encoding.name().to_owned(),
                guidance: strength.guidance,
                cos_threshold: f64::from(strength.cos_threshold),
                accuracy: strength.accuracy,
                max_divergence: strength.max_divergence.clone(),
                selected: strength.selected,
            })
        })
        .collect()
}

fn tuning_rows(tunings: &BTreeMap<Baseline, Tuning>) -> Vec<TuningRow> {
    tunings
        .values()
        .flat_map(|tuning| {
            let candidates = tuning.candidates.iter().enumerate();
            candidates.map(|(number, candidate)| TuningRow {
                method: tuning.method.name().to_owned(),
                noise_scale: candidate.noise_scale,
                strength: tuning.method.has_strength().then_some(candidate.strength),
                threshold: candidate.threshold,
                dice: Tuning::best(candidate),
                pixel_labels: tuning.pixel_labels,
                selected: number == tuning.chosen,
            })
        })
        .collect()
}
