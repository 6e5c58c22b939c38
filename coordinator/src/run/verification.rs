//! Checks what a worker claims against what was asked of it.
//!
//! Results are claims: the keys of a shard are computed here, the cost is the one its plan implies, and
//! every record is read back by its digest and measured against its [`RecordShape`] before its key is
//! finished. Nothing is read beyond the bytes that an honest answer has.

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{
    Completion, EvaluationCost, Job, MAX_TRIAL_REPORT_BYTES, Manifest, PlanError, Task, TrainPlan,
    TrialReport,
};
use anofpdm_common::record::RecordShape;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::wire::{self, WireError};

use super::active_plan::ActivePlan;
use crate::ledger::ChosenPrecision;
use crate::precision;
use crate::stored_record::{self, RecordError};

/// Most bytes of a file of weights beside its values: tensor names and shapes.
const WEIGHTS_HEADER: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the shard belongs to another plan")]
    OtherPlan,
    #[error("the job is no shard: {0}")]
    Job(String),
    #[error("{0}")]
    Completion(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the manifest names {found} records, {expected} were asked for")]
    Count { found: usize, expected: usize },
    #[error("record {0} has another key than was asked for")]
    Key(usize),
    #[error(
        "{} network evaluations and {} of padding are claimed, the shard takes {} and {}",
        found.evaluations, found.padding, expected.evaluations, expected.padding
    )]
    Cost {
        found: EvaluationCost,
        expected: EvaluationCost,
    },
    #[error("record {key} is impossible: {what}")]
    Impossible { key: Digest, what: String },
    #[error("the report of the trial: {0}")]
    Trial(String),
    #[error("weights of {bytes} bytes, {limit} at most were asked for")]
    Weights { bytes: u64, limit: u64 },
}

impl Rejection {
    /// In a word, as metrics have it.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::OtherPlan | Self::Job(_) | Self::Plan(_) => "plan",
            Self::Completion(_) => "completion",
            Self::Artifact(_) => "artifact",
            Self::Wire(_) | Self::Record(_) | Self::Trial(_) => "unreadable",
            Self::Count { .. } => "count",
            Self::Key(_) => "key",
            Self::Cost { .. } => "cost",
            Self::Impossible { .. } | Self::Weights { .. } => "impossible",
        }
    }
}

/// The record keys and record digests of a claim that holds.
pub(super) fn verify(
    active: &ActivePlan,
    job: &Job,
    completion: &Completion,
    artifacts: &ArtifactStore,
) -> Result<Vec<(Digest, Digest)>, Rejection> {
    job.check().map_err(Rejection::Job)?;
    completion.check().map_err(Rejection::Completion)?;
    match (active, &job.task) {
        // The first rank speaks for its gang.
        (ActivePlan::Train(plan, train), Task::Train(gang))
            if *plan == job.plan && gang.is_first() =>
        {
            check_cost(completion, train_cost(train))?;
            let entries = read_manifest(completion.manifest, &[train.key()?], artifacts)?;
            for (_, weights) in &entries {
                check_weights(train, weights, artifacts)?;
            }
            Ok(entries)
        }
        (ActivePlan::Forward(active), Task::Batches(run)) if active.digest == job.plan => {
            let plan = &active.plan;
            check_cost(completion, run.evaluations(plan)?)?;
            let keys = run
                .parts()
                .map(|(batch, cell)| plan.record_key(batch, cell))
                .collect::<Result<Vec<_>, _>>()?;
            let entries = read_manifest(completion.manifest, &keys, artifacts)?;
            for ((batch, cell), (key, record)) in run.parts().zip(&entries) {
                let shape = RecordShape::of(plan, batch, cell, active.slice_size)?;
                check_record(&shape, *key, *record, artifacts)?;
            }
            Ok(entries)
        }
        _ => Err(Rejection::OtherPlan),
    }
}

/// The number format that a trial speaks for.
pub(super) fn trial(
    active: &ActivePlan,
    job: &Job,
    completion: &Completion,
    artifacts: &ArtifactStore,
) -> Result<ChosenPrecision, Rejection> {
    job.check().map_err(Rejection::Job)?;
    completion.check().map_err(Rejection::Completion)?;
    let ActivePlan::Trial(digest, plan) = active else {
        return Err(Rejection::OtherPlan);
    };
    if *digest != job.plan {
        return Err(Rejection::OtherPlan);
    }
    let nothing = EvaluationCost {
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
    // Weights that are absent are told of by the store.
    if let Some(bytes) = artifacts.length(weights)?
        && bytes > limit
    {
        return Err(Rejection::Weights { bytes, limit });
    }
    artifacts.verify(weights)?;
    Ok(())
}

fn check_cost(completion: &Completion, expected: EvaluationCost) -> Result<(), Rejection> {
    let found = EvaluationCost {
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
const fn train_cost(plan: &TrainPlan) -> EvaluationCost {
    EvaluationCost {
        evaluations: plan.train.steps.saturating_mul(plan.train.batch),
        padding: 0,
    }
}

#[cfg(test)]
pub(super) mod tests;
