//! Adds records up: from verified records to the rows of the table. No device is needed.

mod fingerprint;
mod records;
mod rows;
mod trivial;

use std::collections::BTreeMap;

use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::slices::StoreError;
use anofpdm_common::work::{ForwardPlan, MAX_PLAN_BYTES, Plan, PlanError, Stage};

use crate::bench_file::{BenchError, BenchFile};
use crate::calibrate::{self, CalibrateError, Calibration};
use crate::dataset::DatasetError;
use crate::ledger::Ledger;
use crate::plan::cells::encodings;
use crate::report::summary::{Audits, CalibrationRow, Cost, Coverage, StageEvaluations, Summary};
use crate::run_folder::RunFolder;
use crate::stored_record::RecordError;

/// Why a run cannot be added up.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// A stage has not begun.
    #[error("the run has no {0} stage yet: run it first")]
    NoStage(&'static str),
    /// Records are missing.
    #[error("{missing} of {planned} records are not there yet: run again to go on")]
    Incomplete {
        /// Records without a counted result.
        missing: usize,
        /// All records.
        planned: usize,
    },
    /// The spec or its slices.
    #[error("{0}")]
    Bench(#[from] BenchError),
    /// The slices.
    #[error("{0}")]
    Dataset(#[from] DatasetError),
    /// The slice store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A plan in the artifact store.
    #[error("{0}")]
    Artifact(#[from] ArtifactError),
    /// A record.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// Calibration.
    #[error("{0}")]
    Calibrate(#[from] CalibrateError),
    /// A record is not of the kind its cell asked for.
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
    ) -> Result<Self, AggregateError> {
        let (digest, _) = ledger
            .planned
            .get(&stage)
            .ok_or(AggregateError::NoStage(stage.name()))?;
        let Plan::Forward(plan) = Plan::from_json(&artifacts.get(digest, MAX_PLAN_BYTES)?)? else {
            return Err(AggregateError::NoStage(stage.name()));
        };
        let keys = plan.record_keys()?;
        let all = || keys.iter().flatten();
        let missing = all().filter(|key| ledger.record(**key).is_none()).count();
        if missing > 0 {
            return Err(AggregateError::Incomplete {
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

/// The summary of a finished run.
///
/// # Errors
/// [`AggregateError`].
pub fn summarise(
    bench: &BenchFile,
    folder: &RunFolder,
    ledger: &Ledger,
) -> Result<Summary, AggregateError> {
    let artifacts = ArtifactStore::open(&folder.records())?;
    let calibrated = Finished::load(Stage::Calibrate, ledger, &artifacts)?;
    let scored = Finished::load(Stage::Score, ledger, &artifacts)?;
    let calibration = encodings(&bench.spec.score)
        .into_iter()
        .map(|encoding| Ok((encoding, calibrate::read(folder, encoding)?)))
        .collect::<Result<BTreeMap<Encoding, Calibration>, CalibrateError>>()?;
    let dataset = bench.dataset()?;

    let mut rows = rows::rows(&scored, &calibration, &artifacts)?;
    let (trivial, mut warnings) = trivial::rows(&bench.spec, &dataset, &scored.plan)?;
    rows.extend(trivial);
    for (name, model) in &bench.spec.model {
        if let Some(warning) = model.train.as_ref().and_then(|train| train.ema_warning()) {
            warnings.push(format!("[model.{name}.train]: {warning}"));
        }
    }
    Ok(Summary {
        run: bench.spec.name.clone(),
        fingerprint: fingerprint::fingerprint([&calibrated, &scored]),
        spec_digest: bench.digest()?,
        semantics: scored.plan.semantics.name().to_owned(),
        precision: scored.plan.profile.precision.name().to_owned(),
        device: scored.plan.profile.device.clone(),
        coverage: coverage(&scored, ledger),
        audits: audits(ledger),
        rows,
        cost: cost(&scored.plan, ledger),
        calibration: calibration_rows(&calibration),
        warnings,
    })
}

/// Slices x cells, with what was delivered more than once.
fn coverage(scored: &Finished, ledger: &Ledger) -> Coverage {
    let slices_of: BTreeMap<Digest, u64> = scored
        .plan
        .batches
        .iter()
        .zip(&scored.records)
        .flat_map(|(batch, cells)| cells.iter().map(|(key, _)| (*key, batch.len() as u64)))
        .collect();
    let planned: usize = scored.plan.batches.iter().map(Vec::len).sum();
    let count = |keys: &[Digest]| keys.iter().filter_map(|key| slices_of.get(key)).sum();
    Coverage {
        planned: (planned * scored.plan.cells.len()) as u64,
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

#[allow(clippy::cast_precision_loss)]
fn cost(plan: &ForwardPlan, ledger: &Ledger) -> Cost {
    let of = |stage| ledger.cost.get(&stage).copied().unwrap_or_default();
    let (train, calibrate, score) = (of(Stage::Train), of(Stage::Calibrate), of(Stage::Score));
    let seconds = |millis: u64| millis as f64 / 1e3;
    let slices: usize = plan.batches.iter().map(Vec::len).sum();
    let walked = (slices * plan.trajectories.len()) as f64;
    Cost {
        network_evaluations: train.evaluations + calibrate.evaluations + score.evaluations,
        by_stage: StageEvaluations {
            train: train.evaluations,
            calibrate: calibrate.evaluations,
            score: score.evaluations,
        },
        padding: calibrate.padding + score.padding,
        repeated_evaluations: ledger.repeated.evaluations,
        device_seconds: seconds(
            train.device_millis
                + calibrate.device_millis
                + score.device_millis
                + ledger.repeated.device_millis,
        ),
        wall_seconds: seconds(ledger.wall_millis),
        slices_per_second: if score.device_millis == 0 {
            0.0
        } else {
            walked / seconds(score.device_millis)
        },
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
