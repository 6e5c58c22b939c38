//! Decides on what workers claim ([`verification`](super::verification)), and writes what counts into the journal
//! before they hear of it.
//!
//! It is called from inside the queue and cannot call it: what has to be acted on waits as a [`ShardEvent`] until the
//! scheduler comes to it.

use std::collections::HashSet;
use std::path::Path;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{Job, Stage, Task, WorkerInfo};
use anofpdm_common::queue::{Claim, ErrorClass, Event, LeaseId, QueueHandler, Setback, Verdict};
use anofpdm_common::record::RecordShape;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::journal::JournalError;

use super::active_plan::{ActiveForward, ActivePlan};
use super::verification::{self, Rejection};
use crate::cache::RecordCache;
use crate::ledger::journal::RunJournal;
use crate::ledger::{Applied, CACHE, Entry, Ledger};

/// Something the scheduler has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShardEvent {
    /// A worker has begun a shard.
    Begun {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        worker: String,
    },
    /// A lease ended without a result.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// Why.
        how: Ending,
    },
    /// A result counts, or repeats one that does.
    Accepted {
        /// The lease it was delivered under.
        lease: LeaseId,
        /// Network evaluations, padding included.
        evaluations: u64,
        /// Time the device worked, milliseconds.
        device_millis: u64,
    },
    /// These keys need another delivery.
    Contested {
        /// The keys.
        keys: Vec<Digest>,
        /// Who made the delivery that left them so.
        by: String,
    },
    /// A worker is not to be given anything any more.
    Distrusted {
        /// Its name.
        worker: String,
        /// What it did.
        reason: String,
    },
}

/// How a lease ended that brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The worker gave the shard back.
    HandedBack,
    /// The worker died, or was silent for too long.
    Died {
        /// The worker. It may still be there: stopped, or cut off.
        worker: String,
    },
    /// The worker reported an error.
    Failed {
        /// Its class.
        class: ErrorClass,
        /// The full error chain.
        message: String,
    },
}

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
    failure: Option<JournalError>,
}

impl ResultCommitter {
    pub(super) fn new(
        journal: RunJournal,
        artifacts: ArtifactStore,
        cache: Option<RecordCache>,
    ) -> Self {
        Self {
            journal,
            artifacts,
            cache,
            active: ActivePlan::Idle,
            audits: HashSet::new(),
            events: Vec::new(),
            failure: None,
        }
    }

    /// What the journal adds up to.
    pub(super) const fn ledger(&self) -> &Ledger {
        self.journal.ledger()
    }

    /// Writes an entry that no worker brought.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<Applied, JournalError> {
        self.journal.append(entry)
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

    /// Records of a stage that count.
    pub(super) fn counted(&self, active: &ActiveForward) -> u64 {
        let ledger = self.ledger();
        let counted = active.keys().filter(|key| ledger.record(*key).is_some());
        counted.count() as u64
    }

    /// What this shard brings is an audit.
    pub(super) fn mark_audit(&mut self, shard: u64) {
        self.audits.insert(shard);
    }

    /// True while something waits to be acted on.
    pub(super) const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since the last call.
    ///
    /// # Errors
    /// When the journal has failed in the meantime.
    pub(super) fn take_events(&mut self) -> Result<Vec<ShardEvent>, JournalError> {
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
        let applied = self.journal.append(entry)?;
        for key in &applied.conflicts {
            tracing::error!(%key, worker, "conflict: the same key with different bits; a record counts once two workers agree on it");
        }
        self.contested(applied.contested, worker);
        self.distrust_suspects()
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
            let applied = self.journal.append(&Entry::Distrusted {
                worker: worker.clone(),
                reason: reason.clone(),
            })?;
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
        for records in found.chunks(CHUNK) {
            self.journal.append(&Entry::Delivered {
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
                match self.journal.append(&entry) {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let text = error.to_string();
                        self.failure = Some(error);
                        Err(text)
                    }
                }
            }
        }
    }

    fn commit(&mut self, claim: Claim<'_>) -> Verdict {
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
            return Verdict::Accept;
        }
        let entry = match self.verify(&claim) {
            Ok(entry) => entry,
            Err(rejection) => {
                tracing::warn!(worker = claim.worker, %rejection, "a result is rejected");
                return Verdict::Reject(rejection.to_string());
            }
        };
        self.events.push(accepted);
        if let Err(error) = self.count(&entry, claim.worker) {
            self.failure = Some(error);
            return Verdict::Undecided;
        }
        self.add_to_cache(&entry);
        Verdict::Accept
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
                    worker,
                    error = message,
                    again = again(&setback),
                    "a shard failed: {}",
                    in_words(class)
                );
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
                    worker,
                    again = again(&setback),
                    "a worker died at work, or was silent for too long"
                );
                let how = Ending::Died { worker };
                self.events.push(ShardEvent::Ended { lease, how });
            }
            Event::Released { lease, worker, .. } => {
                tracing::debug!(shard = lease.shard, worker, "a shard was handed back");
                let how = Ending::HandedBack;
                self.events.push(ShardEvent::Ended { lease, how });
            }
            Event::WorkerJoined(worker) => tracing::debug!(worker = worker.worker, "worker joined"),
            Event::WorkerLeft(worker) => tracing::debug!(worker = worker.worker, "worker left"),
            Event::Leased { lease, worker } => {
                tracing::debug!(shard = lease.shard, worker, "a shard was begun");
                self.events.push(ShardEvent::Begun { lease, worker });
            }
        }
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
