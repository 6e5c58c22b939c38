//! Decides on what workers claim ([`verification`](super::verification)), and writes what counts into the journal
//! before they hear of it.
//!
//! It is called from inside the queue and cannot call it: what has to be acted on waits as a [`ShardEvent`] until the
//! scheduler comes to it.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{Job, Stage, Task, WorkerInfo};
use anofpdm_common::queue::{Claim, ErrorClass, Event, LeaseId, QueueHandler, Setback, Verdict};
use anofpdm_common::record::RecordShape;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::journal::JournalError;

use super::active_plan::{ActiveForward, ActivePlan};
use super::error::CommitError;
use super::operators::run_metrics::{RunMetrics, ShardEnd, WorkerEvent};
use super::shard_event::{Ending, ShardEvent};
use super::verification::{self, Rejection};
use crate::cache::RecordCache;
use crate::ledger::journal::RunJournal;
use crate::ledger::{Applied, CACHE, Entry, Ledger, StageCost};
use crate::stored_record::RecordError;

/// Verifies what workers deliver to one run, and journals what counts.
#[derive(Debug)]
pub(super) struct ResultCommitter {
    journal: RunJournal,
    artifacts: ArtifactStore,
    cache: Option<RecordCache>,
    active: ActivePlan,
    /// Shards that repeat another to compare bits.
    audits: HashSet<u64>,
    /// In the order of happening.
    events: Vec<ShardEvent>,
    /// The journal failed: the run must stop.
    failure: Option<CommitError>,
    metrics: RunMetrics,
}

impl ResultCommitter {
    pub(super) fn new(
        journal: RunJournal,
        artifacts: ArtifactStore,
        cache: Option<RecordCache>,
        metrics: RunMetrics,
    ) -> Self {
        Self {
            journal,
            artifacts,
            cache,
            active: ActivePlan::Idle,
            audits: HashSet::new(),
            events: Vec::new(),
            failure: None,
            metrics,
        }
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        self.journal.ledger()
    }

    pub(super) fn append(&mut self, entry: &Entry) -> Result<Applied, JournalError> {
        let begun = Instant::now();
        let applied = self.journal.append(entry)?;
        self.metrics.journaled(begun.elapsed());
        Ok(applied)
    }

    pub(super) const fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    /// From now on results of `plan` are taken, and of no other.
    pub(super) fn begin(&mut self, plan: ActivePlan) {
        self.active = plan;
    }

    pub(super) const fn active(&self) -> &ActivePlan {
        &self.active
    }

    pub(super) fn counted(&self, active: &ActiveForward) -> u64 {
        let ledger = self.ledger();
        let counted = active.keys().filter(|key| ledger.record(*key).is_some());
        counted.count() as u64
    }

    pub(super) fn mark_audit(&mut self, shard: u64) {
        self.audits.insert(shard);
    }

    /// True while something waits to be acted on.
    pub(super) const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since the last call.
    pub(super) fn take_events(&mut self) -> Result<Vec<ShardEvent>, CommitError> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut self.events)),
        }
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<Entry, Rejection> {
        if claim.job.task == Task::Trial {
            let chosen =
                verification::trial(&self.active, claim.job, claim.completion, &self.artifacts)?;
            return Ok(Entry::Precision(chosen));
        }
        let records =
            verification::verify(&self.active, claim.job, claim.completion, &self.artifacts)?;
        Ok(Entry::Delivered {
            stage: claim.job.stage,
            records,
            evaluations: claim.completion.evaluations,
            padding: claim.completion.padding,
            device_millis: devices_of(claim.job).saturating_mul(claim.completion.device_millis),
            worker: claim.worker.to_owned(),
            lease: claim.lease,
            audit: self.audits.contains(&claim.lease.shard),
        })
    }

    /// Journals a verified claim and what follows from it.
    fn count(&mut self, entry: &Entry, worker: &str) -> Result<(), JournalError> {
        let audits = self.ledger().audits;
        let applied = self.append(entry)?;
        self.metrics.audited(audits, self.ledger().audits);
        self.measure(entry, &applied);
        for key in &applied.conflicts {
            tracing::error!(%key, worker, "conflict: the same key with different bits; a record counts once two workers agree on it");
        }
        self.contested(applied.contested, worker);
        self.distrust_suspects()
    }

    /// Counts a delivery by method and by what it took.
    fn measure(&self, entry: &Entry, applied: &Applied) {
        let Entry::Delivered {
            stage,
            records,
            evaluations,
            padding,
            device_millis,
            worker,
            ..
        } = entry
        else {
            return;
        };
        if let Some(active) = self.active.forward() {
            for ((key, _), outcome) in records.iter().zip(&applied.outcomes) {
                self.metrics
                    .record(*stage, active.method_of(*key), *outcome);
            }
        }
        let cost = StageCost {
            evaluations: *evaluations,
            padding: *padding,
            device_millis: *device_millis,
        };
        self.metrics.paid(*stage, worker, cost, applied.repeated);
    }

    fn contested(&mut self, keys: Vec<Digest>, by: &str) {
        if !keys.is_empty() {
            if let Some(cache) = &self.cache {
                for key in &keys {
                    if let Err(error) = cache.remove(*key) {
                        tracing::warn!(%key, %error, "cannot take a contested record out of the cache");
                    }
                }
            }
            let by = by.to_owned();
            self.events.push(ShardEvent::Contested { keys, by });
        }
    }

    /// Journals that workers found wrong are not trusted any more. Also called when a run starts: its last
    /// coordinator may have died between finding out and writing it down.
    pub(super) fn distrust_suspects(&mut self) -> Result<(), JournalError> {
        for worker in self.ledger().suspects() {
            let reason = "two other workers agree on other bits than it delivered".to_owned();
            tracing::error!(
                worker,
                reason,
                "a worker is retired; what only it delivered is computed again"
            );
            let applied = self.append(&Entry::Distrusted {
                worker: worker.clone(),
                reason: reason.clone(),
            })?;
            self.metrics.worker(WorkerEvent::Retired);
            self.contested(applied.contested, &worker);
            self.events.push(ShardEvent::Distrusted { worker, reason });
        }
        Ok(())
    }

    /// Adds records of the cache to the run, as far as they are there and are what the stage asks for; returns how many.
    pub(super) fn take_from_cache(
        &mut self,
        active: &ActiveForward,
    ) -> Result<usize, JournalError> {
        /// Records a journal entry, so that none outgrows its limit.
        const CHUNK: usize = 4_096;
        let Some(cache) = self.cache.clone() else {
            return Ok(0);
        };
        let mut found = Vec::new();
        for key in active.keys() {
            if self.ledger().is_known(key) {
                continue;
            }
            let Some(path) = cache.find(key) else {
                continue;
            };
            match self.adopt(&path, active, key) {
                Ok(record) => found.push((key, record)),
                Err(error) => {
                    tracing::warn!(%key, %error, "a cached record cannot be used");
                }
            }
        }
        for (key, _) in &found {
            self.metrics
                .cached(active.plan.stage, active.method_of(*key));
        }
        for records in found.chunks(CHUNK) {
            self.append(&Entry::Delivered {
                stage: active.plan.stage,
                records: records.to_vec(),
                evaluations: 0,
                padding: 0,
                device_millis: 0,
                worker: CACHE.to_owned(),
                lease: LeaseId { shard: 0, epoch: 0 },
                audit: false,
            })?;
        }
        Ok(found.len())
    }

    /// Copies a record of the cache into the run, measured like one that a worker delivers.
    fn adopt(&self, path: &Path, active: &ActiveForward, key: Digest) -> Result<Digest, Rejection> {
        let (batch, cell) = active.place_of(key).ok_or(Rejection::OtherPlan)?;
        let (batch, cell) = (batch as usize, usize::from(cell));
        let shape = RecordShape::of(&active.plan, batch, cell, active.slice_size)?;
        let record = self.artifacts.put_file(path)?;
        verification::check_record(&shape, key, record, &self.artifacts)?;
        Ok(record)
    }

    /// Shares what counts; a record that is contested is nobody's.
    fn add_to_cache(&self, entry: &Entry) {
        let (Some(cache), Entry::Delivered { records, stage, .. }) = (&self.cache, entry) else {
            return;
        };
        if *stage == Stage::Train {
            return;
        }
        let ledger = self.ledger();
        for (key, record) in records {
            if ledger.record(*key) == Some(*record)
                && let Err(error) = cache.add(*key, &self.artifacts.path_of(record))
            {
                tracing::warn!(%error, "cannot add a record to the cache");
            }
        }
    }
}

impl QueueHandler for ResultCommitter {
    fn admit(&mut self, worker: &WorkerInfo) -> Result<(), String> {
        self.admitted(worker)
            .inspect_err(|_| self.metrics.worker(WorkerEvent::Refused))
    }

    fn commit(&mut self, claim: Claim<'_>) -> Verdict {
        let verdict = self.decide(&claim);
        if matches!(verdict, Verdict::Reject(_)) {
            self.metrics
                .shard_ended(claim.job.stage, ShardEnd::Rejected);
        }
        verdict
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::Failed {
                lease,
                worker,
                class,
                message,
                setback,
            } => {
                tracing::warn!(
                    shard = lease.shard,
                    epoch = lease.epoch,
                    worker,
                    error = message,
                    again = again(&setback),
                    "a shard failed: {}",
                    in_words(class)
                );
                self.metrics.error(class);
                if setback != Setback::NotHeld {
                    self.ended(ShardEnd::Failed);
                }
                let how = Ending::Failed { class, message };
                self.events.push(ShardEvent::Ended { lease, how });
            }
            Event::Crashed {
                lease,
                worker,
                setback,
            } => {
                tracing::warn!(
                    shard = lease.shard,
                    epoch = lease.epoch,
                    worker,
                    again = again(&setback),
                    "a worker died at work, or was silent for too long"
                );
                self.ended(ShardEnd::Crashed);
                let how = Ending::Died { worker };
                self.events.push(ShardEvent::Ended { lease, how });
            }
            Event::Released { lease, worker, .. } => {
                tracing::debug!(
                    shard = lease.shard,
                    epoch = lease.epoch,
                    worker,
                    "a shard was handed back"
                );
                self.ended(ShardEnd::HandedBack);
                let how = Ending::HandedBack;
                self.events.push(ShardEvent::Ended { lease, how });
            }
            Event::WorkerJoined(worker) => {
                tracing::debug!(worker = worker.worker, "worker joined");
                self.metrics.worker(WorkerEvent::Joined);
            }
            Event::WorkerLeft(worker) => {
                tracing::debug!(worker = worker.worker, "worker left");
                self.metrics.worker(WorkerEvent::Left);
            }
            Event::Leased { lease, worker } => {
                tracing::debug!(
                    shard = lease.shard,
                    epoch = lease.epoch,
                    worker,
                    "a shard was begun"
                );
                self.events.push(ShardEvent::Begun { lease, worker });
            }
        }
    }
}

impl ResultCommitter {
    fn admitted(&mut self, worker: &WorkerInfo) -> Result<(), String> {
        let ledger = self.ledger();
        if let Some(reason) = ledger.distrusted.get(&worker.worker) {
            return Err(format!("this worker was retired: {reason}"));
        }
        match &ledger.profile {
            Some(pinned) if *pinned == worker.profile => Ok(()),
            Some(pinned) => Err(format!(
                "this run has the numeric profile {pinned}; this worker is {}: results would not be comparable",
                worker.profile
            )),
            None => {
                let entry = Entry::Profile(worker.profile.clone());
                match self.append(&entry) {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let text = error.to_string();
                        self.failure = Some(error.into());
                        Err(text)
                    }
                }
            }
        }
    }

    /// A lease of the stage at work ended without a result.
    fn ended(&self, end: ShardEnd) {
        if let Some(stage) = self.active.stage() {
            self.metrics.shard_ended(stage, end);
        }
    }

    fn decide(&mut self, claim: &Claim<'_>) -> Verdict {
        let LeaseId { shard, epoch } = claim.lease;
        let _context = tracing::info_span!("claim", shard, epoch, worker = claim.worker).entered();
        let ledger = self.ledger();
        if ledger.distrusted.contains_key(claim.worker) {
            // Its shard goes to somebody else without blame.
            return Verdict::Undecided;
        }
        let accepted = ShardEvent::Accepted {
            lease: claim.lease,
            evaluations: claim
                .completion
                .evaluations
                .saturating_add(claim.completion.padding),
            device_millis: claim.completion.device_millis,
        };
        // What was chosen stays: it is measured, so a second answer is another one.
        let answered = claim.job.task == Task::Trial && ledger.precision.is_some();
        if answered || ledger.is_delivered(claim.worker, claim.lease) {
            // Journaled by a coordinator that died before the queue heard of it.
            self.events.push(accepted);
            self.metrics
                .shard_ended(claim.job.stage, ShardEnd::Duplicate);
            return Verdict::Accept;
        }
        let entry = match self.verify(claim) {
            Ok(entry) => entry,
            Err(rejection) => {
                // Not the worker's fault: the result may be right, and cannot be looked at.
                if let Rejection::Artifact(ArtifactError::Object(error))
                | Rejection::Record(RecordError::Artifact(ArtifactError::Object(error))) =
                    rejection
                {
                    self.failure = Some(error.into());
                    return Verdict::Undecided;
                }
                tracing::warn!(worker = claim.worker, %rejection, "a result is rejected");
                self.metrics.rejected(rejection.reason());
                return Verdict::Reject(rejection.to_string());
            }
        };
        self.events.push(accepted);
        if let Err(error) = self.count(&entry, claim.worker) {
            self.failure = Some(error.into());
            return Verdict::Undecided;
        }
        // After what it belongs to: a coordinator that dies in between forgets some energy and counts none twice.
        if let (Some(millijoules), Entry::Delivered { device_millis, .. }) =
            (claim.completion.millijoules, &entry)
            && let Err(error) = self.append(&Entry::Energy {
                millijoules: devices_of(claim.job).saturating_mul(millijoules),
                device_millis: *device_millis,
            })
        {
            self.failure = Some(error.into());
            return Verdict::Undecided;
        }
        self.metrics
            .shard_ended(claim.job.stage, ShardEnd::Accepted);
        self.add_to_cache(&entry);
        Verdict::Accept
    }
}

/// Devices that worked on a job for as long as its completion says: the ranks of a gang end together.
fn devices_of(job: &Job) -> u64 {
    match &job.task {
        Task::Train(gang) => gang.world.into(),
        Task::Batches(_) | Task::Trial => 1,
    }
}

const fn again(setback: &Setback) -> bool {
    matches!(setback, Setback::Requeued | Setback::RetryAt(_))
}

/// What kind of failure a class is, for people.
pub(super) const fn in_words(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "something that may pass by itself",
        ErrorClass::BadInput => "the input is wrong",
        ErrorClass::OutOfMemory => "it does not fit in the memory of the device",
        ErrorClass::DeviceLost => "the device is lost",
        ErrorClass::Fatal => "trying again cannot help",
    }
}
