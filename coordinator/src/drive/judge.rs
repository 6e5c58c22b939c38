//! Decides on what workers claim ([`verify`](super::verify)), and writes what counts into the journal
//! before they hear of it.

use std::path::Path;

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::{Claim, Event, Judge, Setback, Verdict};
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::work::{ForwardPlan, Stage, TrainPlan, WorkerInfo};

use super::verify::{self, Rejection};
use crate::cache::RecordCache;
use crate::ledger::Entry;
use crate::ledger::journal::RunJournal;

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
        let records = verify::verify(&self.current, claim.job, claim.completion, &self.artifacts)?;
        Ok(Entry::Delivered {
            stage: claim.job.stage,
            records,
            evaluations: claim.completion.evaluations,
            padding: claim.completion.padding,
            device_millis: claim.completion.device_millis,
        })
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
