//! Checks what a worker claims against what was asked of it.
//!
//! Results are claims: the keys of a shard are computed here, every record is read back by its digest and
//! checked for form and range before its key is finished.

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::score_run::is_score_run;
use anofpdm_common::record::{Record, SliceScore, SliceTrace};
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::wire::{self, Kind, WireError};
use anofpdm_common::work::{CellOutput, Completion, ForwardPlan, Job, Manifest, PlanError, Task};

use super::judge::Current;
use crate::stored_record::{self, RecordError};

/// Why a claim is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the shard belongs to another plan")]
    OtherPlan,
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
    #[error("record {key} is impossible: {what}")]
    Impossible { key: Digest, what: String },
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
    let manifest: Manifest =
        wire::decode(&artifacts.get(&completion.manifest, Kind::Manifest.limit() as u64)?)?;
    let expected = match current {
        Current::Train(plan, train) if *plan == job.plan => vec![train.key()?],
        Current::Forward(plan, forward, _) if *plan == job.plan => expected_keys(forward, job)?,
        _ => return Err(Rejection::OtherPlan),
    };
    if manifest.entries.len() != expected.len() {
        return Err(Rejection::Count {
            found: manifest.entries.len(),
            expected: expected.len(),
        });
    }
    let mut matching = manifest.entries.iter().zip(&expected);
    if let Some(wrong) = matching.position(|((key, _), wanted)| key != wanted) {
        return Err(Rejection::Key(wrong));
    }
    match current {
        Current::Forward(_, plan, size) => {
            verify_records(plan, *size, job, &manifest, artifacts)?;
        }
        _ => {
            for (_, weights) in &manifest.entries {
                artifacts.verify(weights)?;
            }
        }
    }
    Ok(manifest.entries)
}

fn verify_records(
    plan: &ForwardPlan,
    size: usize,
    job: &Job,
    manifest: &Manifest,
    artifacts: &ArtifactStore,
) -> Result<(), Rejection> {
    let Task::Batches { first, cells, .. } = &job.task else {
        return Err(Rejection::OtherPlan);
    };
    for (index, (key, digest)) in manifest.entries.iter().enumerate() {
        let batch = plan.batch(*first as usize + index / cells.len())?;
        let cell = plan.cell(usize::from(cells[index % cells.len()]))?;
        let record = stored_record::read(artifacts, *digest)?;
        let shape = Shape {
            slices: batch.len(),
            sequence: plan.steps as usize * plan.data.scored.len(),
            modalities: plan.data.scored.len(),
            pixels: size * size,
            steps: plan.steps,
        };
        shape
            .check(&record, &cell.output)
            .map_err(|what| Rejection::Impossible { key: *key, what })?;
    }
    Ok(())
}

/// The keys a job's records must have, in the order of its manifest.
fn expected_keys(plan: &ForwardPlan, job: &Job) -> Result<Vec<Digest>, PlanError> {
    let Task::Batches {
        first,
        count,
        cells,
    } = &job.task
    else {
        return Ok(Vec::new());
    };
    (*first..*first + *count)
        .flat_map(|batch| cells.iter().map(move |cell| (batch, *cell)))
        .map(|(batch, cell)| plan.record_key(batch as usize, usize::from(cell)))
        .collect()
}

/// What a record of one cell and batch must look like.
struct Shape {
    slices: usize,
    /// Steps x modalities.
    sequence: usize,
    modalities: usize,
    pixels: usize,
    steps: u32,
}

impl Shape {
    fn check(&self, record: &Record, output: &CellOutput) -> Result<(), String> {
        if record.len() != self.slices {
            return Err(format!(
                "{} slices instead of {}",
                record.len(),
                self.slices
            ));
        }
        match (record, output) {
            (Record::Traces(traces), CellOutput::Traces) => {
                traces.iter().try_for_each(|trace| self.trace(trace))
            }
            (Record::Masks(scores), CellOutput::Mask { .. }) => {
                scores.iter().try_for_each(|score| self.score(score))
            }
            _ => Err("another kind of record than was asked for".to_owned()),
        }
    }

    fn trace(&self, trace: &SliceTrace) -> Result<(), String> {
        for (name, values) in [
            ("divergence", &trace.divergence),
            ("mse_h", &trace.mse_h),
            ("mse_null", &trace.mse_null),
        ] {
            if values.len() != self.sequence {
                return Err(format!("{name} has {} values", values.len()));
            }
            if values
                .iter()
                .any(|value| !(value.is_finite() && *value >= 0.0))
            {
                return Err(format!("{name} holds a value that is no mean of squares"));
            }
        }
        Ok(())
    }

    fn score(&self, score: &SliceScore) -> Result<(), String> {
        let overlap = score.overlap.check().map_err(|error| error.to_string())?;
        if overlap.pixels as usize != self.pixels {
            return Err(format!("{} pixels", overlap.pixels));
        }
        if !score.cosine.is_finite() {
            return Err("a cosine that is not finite".to_owned());
        }
        let decided = &score.modalities;
        if decided.len() != self.modalities
            || decided
                .iter()
                .any(|decision| decision.end_step >= self.steps || decision.level_index > 100)
        {
            return Err("decisions out of range".to_owned());
        }
        if score.run.len() > self.pixels || !is_score_run(&score.run) {
            return Err("a score run that is not sorted or too long".to_owned());
        }
        if let Some(figures) = &score.figures {
            let overlaps = figures
                .end_step_ratios
                .iter()
                .chain(&figures.fixed_thresholds);
            for overlap in overlaps {
                overlap.check().map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}
