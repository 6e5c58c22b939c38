//! Verifies what workers claim, and writes what counts into the journal before they hear of it.
//!
//! Results are claims: the keys of a shard are computed here, every record is read back by its digest and
//! checked for form and range before its key is finished.

use std::path::Path;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::score_run::is_score_run;
use anofpdm_common::queue::{Claim, Event, Judge, Setback, Verdict};
use anofpdm_common::record::{Record, SliceScore, SliceTrace};
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::wire::{self, Kind, WireError};
use anofpdm_common::work::{
    CellOutput, ForwardPlan, Job, Manifest, PlanError, Stage, Task, TrainPlan, WorkerInfo,
};

use crate::cache::RecordCache;
use crate::ledger::Entry;
use crate::ledger::journal::RunJournal;
use crate::stored_record::{self, RecordError};

/// The plan the current shards belong to.
#[derive(Debug)]
pub(super) enum Current {
    /// No stage has begun.
    Idle,
    /// Training of one network.
    Train(Digest, Box<TrainPlan>),
    /// Calibration or scoring; the size of a slice is that of the store.
    Forward(Digest, Box<ForwardPlan>, usize),
}

/// Why a claim is not accepted.
#[derive(Debug, thiserror::Error)]
enum Rejection {
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

/// The coordinator's decisions for one run.
#[derive(Debug)]
pub(super) struct RunJudge {
    pub(super) journal: RunJournal,
    pub(super) artifacts: ArtifactStore,
    pub(super) cache: Option<RecordCache>,
    pub(super) current: Current,
    /// The journal failed: the run must stop.
    pub(super) failure: Option<JournalError>,
}

impl RunJudge {
    fn verify(&self, claim: &Claim<'_>) -> Result<Entry, Rejection> {
        let manifest: Manifest = wire::decode(
            &self
                .artifacts
                .get(&claim.completion.manifest, Kind::Manifest.limit() as u64)?,
        )?;
        let expected = match &self.current {
            Current::Train(plan, train) if *plan == claim.job.plan => vec![train.key()?],
            Current::Forward(plan, forward, _) if *plan == claim.job.plan => {
                expected_keys(forward, claim.job)?
            }
            _ => return Err(Rejection::OtherPlan),
        };
        if manifest.entries.len() != expected.len() {
            return Err(Rejection::Count {
                found: manifest.entries.len(),
                expected: expected.len(),
            });
        }
        let matching = manifest.entries.iter().zip(&expected);
        if let Some(wrong) = matching
            .clone()
            .position(|((key, _), wanted)| key != wanted)
        {
            return Err(Rejection::Key(wrong));
        }
        match &self.current {
            Current::Forward(_, plan, size) => {
                self.verify_records(plan, *size, claim.job, &manifest)?
            }
            _ => {
                for (_, weights) in &manifest.entries {
                    self.artifacts.verify(weights)?;
                }
            }
        }
        Ok(Entry::Delivered {
            stage: claim.job.stage,
            records: manifest.entries,
            evaluations: claim.completion.evaluations,
            padding: claim.completion.padding,
            device_millis: claim.completion.device_millis,
        })
    }

    fn verify_records(
        &self,
        plan: &ForwardPlan,
        size: usize,
        job: &Job,
        manifest: &Manifest,
    ) -> Result<(), Rejection> {
        let Task::Batches { first, cells, .. } = &job.task else {
            return Err(Rejection::OtherPlan);
        };
        for (index, (key, digest)) in manifest.entries.iter().enumerate() {
            let batch = plan.batch(*first as usize + index / cells.len())?;
            let cell = plan.cell(usize::from(cells[index % cells.len()]))?;
            let record = stored_record::read(&self.artifacts, *digest)?;
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

    /// Adds records of the cache to the run, as far as they are there; returns how many.
    ///
    /// # Errors
    /// When the journal fails.
    pub(super) fn take_from_cache(
        &mut self,
        stage: Stage,
        keys: impl Iterator<Item = Digest>,
    ) -> Result<usize, JournalError> {
        /// Records a journal entry, so that none outgrows its limit.
        const CHUNK: usize = 4_096;
        let Some(cache) = self.cache.clone() else {
            return Ok(0);
        };
        let mut found = Vec::new();
        for key in keys.filter(|key| self.journal.ledger().record(*key).is_none()) {
            let Some(path) = cache.find(key) else {
                continue;
            };
            match self.adopt(&path) {
                Ok(record) => found.push((key, record)),
                Err(error) => {
                    tracing::warn!(%key, %error, "a cached record cannot be used");
                }
            }
        }
        for records in found.chunks(CHUNK) {
            self.journal.append(&Entry::Delivered {
                stage,
                records: records.to_vec(),
                evaluations: 0,
                padding: 0,
                device_millis: 0,
            })?;
        }
        Ok(found.len())
    }

    fn adopt(&self, path: &Path) -> Result<Digest, ArtifactError> {
        self.artifacts.put_file(path)
    }

    fn add_to_cache(&self, entry: &Entry) {
        let (Some(cache), Entry::Delivered { records, stage, .. }) = (&self.cache, entry) else {
            return;
        };
        if *stage == Stage::Train {
            return;
        }
        for (key, record) in records {
            if let Err(error) = cache.add(*key, &self.artifacts.path_of(record)) {
                tracing::warn!(%error, "cannot add a record to the cache");
            }
        }
    }
}

impl Judge for RunJudge {
    fn admit(&mut self, worker: &WorkerInfo) -> Result<(), String> {
        match &self.journal.ledger().profile {
            Some(pinned) if *pinned == worker.profile => Ok(()),
            Some(pinned) => Err(format!(
                "this run has the numeric profile {pinned}; this worker is {}: results would not be comparable",
                worker.profile
            )),
            None => {
                let entry = Entry::Profile(worker.profile.clone());
                self.journal.append(&entry).map_err(|error| {
                    let text = error.to_string();
                    self.failure = Some(error);
                    text
                })
            }
        }
    }

    fn judge(&mut self, claim: Claim<'_>) -> Verdict {
        let entry = match self.verify(&claim) {
            Ok(entry) => entry,
            Err(rejection) => {
                tracing::warn!(worker = claim.worker, %rejection, "a result is rejected");
                return Verdict::Reject(rejection.to_string());
            }
        };
        let conflicts = self.journal.ledger().conflicts.len();
        if let Err(error) = self.journal.append(&entry) {
            self.failure = Some(error);
            return Verdict::Undecided;
        }
        self.add_to_cache(&entry);
        for key in self.journal.ledger().conflicts.iter().skip(conflicts) {
            tracing::error!(%key, worker = claim.worker, "conflict: the same key with different bits; neither counts until a third result agrees with one");
        }
        Verdict::Accept
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::Failed {
                lease,
                worker,
                message,
                setback,
                ..
            } => {
                tracing::warn!(
                    shard = lease.shard,
                    worker,
                    message,
                    again = again(&setback),
                    "a shard failed"
                );
            }
            Event::Crashed {
                lease,
                worker,
                setback,
            } => {
                tracing::warn!(
                    shard = lease.shard,
                    worker,
                    again = again(&setback),
                    "a worker died at work"
                );
            }
            Event::HandedBack { lease, worker, .. } => {
                tracing::debug!(shard = lease.shard, worker, "a shard was handed back");
            }
            Event::WorkerJoined(worker) => tracing::debug!(worker = worker.worker, "worker joined"),
            Event::WorkerLeft(worker) => tracing::debug!(worker = worker.worker, "worker left"),
            Event::Leased { lease, worker } => {
                tracing::debug!(shard = lease.shard, worker, "a shard was begun");
            }
        }
    }
}

const fn again(setback: &Setback) -> bool {
    matches!(setback, Setback::Requeued | Setback::RetryAt(_))
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
