//! Checks what a worker claims against what was asked of it.
//!
//! Results are claims: the keys of a shard are computed here, the cost is the one its plan implies, and
//! every record is read back by its digest and measured against its [`RecordShape`] before its key is
//! finished. Nothing is read beyond the bytes that an honest answer has.

use anofpdm_common::ids::Digest;
use anofpdm_common::record::RecordShape;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::wire::{self, WireError};
use anofpdm_common::work::{
    Completion, ForwardPlan, Job, MAX_TRIAL_REPORT_BYTES, Manifest, PlanError, Task, TrainPlan,
    TrialReport,
};

use super::active_plan::Current;
use crate::ledger::ChosenPrecision;
use crate::precision;
use crate::stored_record::{self, RecordError};

/// Most bytes of a file of weights beside its values: tensor names and shapes.
const WEIGHTS_HEADER: u64 = 16 << 20;

/// Why a claim is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the shard belongs to another plan")]
    OtherPlan,
    #[error("the job is no shard: {0}")]
    Job(String),
    #[error("{0}")]
    Completion(String),
    #[error("{0}")]
    Plan(#[from] PlanError),
    #[error("{0}")]
    Artifact(#[from] ArtifactError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Record(#[from] RecordError),
    #[error("the manifest names {found} records, {expected} were asked for")]
    Count { found: usize, expected: usize },
    #[error("record {0} has another key than was asked for")]
    Key(usize),
    #[error(
        "{} network evaluations and {} of padding are claimed, the shard takes {} and {}",
        found.evaluations, found.padding, expected.evaluations, expected.padding
    )]
    Cost { found: Cost, expected: Cost },
    #[error("record {key} is impossible: {what}")]
    Impossible { key: Digest, what: String },
    #[error("the report of the trial: {0}")]
    Trial(String),
    #[error("weights of {bytes} bytes, {limit} at most were asked for")]
    Weights { bytes: u64, limit: u64 },
}

/// Network evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Of real slices.
    pub(super) evaluations: u64,
    /// Of padding.
    pub(super) padding: u64,
}

impl Cost {
    /// Everything the device computes; saturates where no shard can be.
    pub(super) fn all(&self) -> u32 {
        u32::try_from(self.evaluations.saturating_add(self.padding)).unwrap_or(u32::MAX)
    }
}

/// The record keys and record digests of a claim that holds.
///
/// # Errors
/// [`Rejection`], with what is wrong.
pub(super) fn verify(
    current: &Current,
    job: &Job,
    completion: &Completion,
    artifacts: &ArtifactStore,
) -> Result<Vec<(Digest, Digest)>, Rejection> {
    job.check().map_err(Rejection::Job)?;
    completion.check().map_err(Rejection::Completion)?;
    match (current, &job.task) {
        // The first rank speaks for its gang.
        (Current::Train(plan, train), Task::Train(gang))
            if *plan == job.plan && gang.is_first() =>
        {
            check_cost(completion, train_cost(train))?;
            let entries = read_manifest(completion.manifest, &[train.key()?], artifacts)?;
            for (_, weights) in &entries {
                check_weights(train, weights, artifacts)?;
            }
            Ok(entries)
        }
        (
            Current::Forward(plan, forward, size),
            Task::Batches {
                first,
                count,
                cells,
            },
        ) if *plan == job.plan => {
            let parts: Vec<(usize, usize)> = (*first..first.saturating_add(*count))
                .flat_map(|batch| cells.iter().map(move |cell| (batch, *cell)))
                .map(|(batch, cell)| (batch as usize, usize::from(cell)))
                .collect();
            check_cost(completion, forward_cost(forward, *first, *count, cells)?)?;
            let keys = parts
                .iter()
                .map(|(batch, cell)| forward.record_key(*batch, *cell))
                .collect::<Result<Vec<_>, _>>()?;
            let entries = read_manifest(completion.manifest, &keys, artifacts)?;
            for ((batch, cell), (key, record)) in parts.iter().zip(&entries) {
                let shape = RecordShape::of(forward, *batch, *cell, *size)?;
                check_record(&shape, *key, *record, artifacts)?;
            }
            Ok(entries)
        }
        _ => Err(Rejection::OtherPlan),
    }
}

/// The number format that a trial speaks for.
///
/// # Errors
/// [`Rejection`], with what is wrong.
pub(super) fn trial(
    current: &Current,
    job: &Job,
    completion: &Completion,
    artifacts: &ArtifactStore,
) -> Result<ChosenPrecision, Rejection> {
    job.check().map_err(Rejection::Job)?;
    completion.check().map_err(Rejection::Completion)?;
    let Current::Trial(digest, plan) = current else {
        return Err(Rejection::OtherPlan);
    };
    if *digest != job.plan {
        return Err(Rejection::OtherPlan);
    }
    let nothing = Cost {
        evaluations: 0,
        padding: 0,
    };
    check_cost(completion, nothing)?;
    let entries = read_manifest(completion.manifest, &[plan.key()?], artifacts)?;
    let [(_, report)] = entries[..] else {
        return Err(Rejection::Count {
            found: entries.len(),
            expected: 1,
        });
    };
    let bytes = artifacts.get(&report, MAX_TRIAL_REPORT_BYTES)?;
    let found: TrialReport =
        serde_json::from_slice(&bytes).map_err(|error| Rejection::Trial(error.to_string()))?;
    found.check(plan).map_err(Rejection::Trial)?;
    let (precision, reason) = precision::choose(&found);
    Ok(ChosenPrecision {
        precision,
        reason,
        report: Some(report),
    })
}

/// Reads a record and measures it.
///
/// # Errors
/// When it cannot be had or is not what was asked for.
pub(super) fn check_record(
    shape: &RecordShape<'_>,
    key: Digest,
    record: Digest,
    artifacts: &ArtifactStore,
) -> Result<(), Rejection> {
    let record = stored_record::read_within(artifacts, record, shape.largest())?;
    shape
        .check(&record)
        .map_err(|what| Rejection::Impossible { key, what })
}

/// The entries of a manifest that names exactly `keys`, in this order.
fn read_manifest(
    manifest: Digest,
    keys: &[Digest],
    artifacts: &ArtifactStore,
) -> Result<Vec<(Digest, Digest)>, Rejection> {
    let bytes = artifacts.get(&manifest, Manifest::bytes(keys.len()))?;
    let Manifest { entries } = wire::decode(&bytes)?;
    if entries.len() != keys.len() {
        return Err(Rejection::Count {
            found: entries.len(),
            expected: keys.len(),
        });
    }
    let mut matching = entries.iter().zip(keys);
    match matching.position(|((key, _), wanted)| key != wanted) {
        Some(wrong) => Err(Rejection::Key(wrong)),
        None => Ok(entries),
    }
}

/// Weights that are there whole, and not more of them than the architecture has.
fn check_weights(
    plan: &TrainPlan,
    weights: &Digest,
    artifacts: &ArtifactStore,
) -> Result<(), Rejection> {
    let parameters = u64::try_from(plan.config.footprint().parameters).unwrap_or(0);
    let limit = parameters.saturating_mul(size_of::<f32>() as u64) + WEIGHTS_HEADER;
    let path = artifacts.path_of(weights);
    // A file that is absent is told of by the store.
    if let Ok(bytes) = std::fs::metadata(&path).map(|metadata| metadata.len())
        && bytes > limit
    {
        return Err(Rejection::Weights { bytes, limit });
    }
    artifacts.verify(weights)?;
    Ok(())
}

fn check_cost(completion: &Completion, expected: Cost) -> Result<(), Rejection> {
    let found = Cost {
        evaluations: completion.evaluations,
        padding: completion.padding,
    };
    if found == expected {
        Ok(())
    } else {
        Err(Rejection::Cost { found, expected })
    }
}

/// Forward passes of the whole training: those of earlier attempts were counted nowhere.
const fn train_cost(plan: &TrainPlan) -> Cost {
    Cost {
        evaluations: plan.train.steps.saturating_mul(plan.train.batch),
        padding: 0,
    }
}

/// Each batch once, whatever the number of cells: they share the trajectory.
pub(super) fn forward_cost(
    plan: &ForwardPlan,
    first: u32,
    count: u32,
    cells: &[u16],
) -> Result<Cost, PlanError> {
    let each = plan.passes(cells)?.total();
    let mut cost = Cost {
        evaluations: 0,
        padding: 0,
    };
    for batch in first..first.saturating_add(count) {
        let slices = plan.batch(batch as usize)?.len() as u64;
        cost.evaluations += each * slices;
        cost.padding += each * u64::from(plan.batch_slices).saturating_sub(slices);
    }
    Ok(cost)
}

#[cfg(test)]
pub(super) mod tests;
