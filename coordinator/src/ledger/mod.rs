//! What the journal says of a run: the entries, and the state they add up to.
//!
//! *Finished means its frame is in the journal.* The first record delivered for a key counts, an equal one is a
//! duplicate, a different one is a conflict: neither counts until another worker agrees with one of them.
//! Whoever delivered another record of that key is then wrong and is distrusted: keys that count on its word
//! alone count no more and are computed again.

mod entry;
pub mod journal;
mod key_states;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{NumericProfile, Stage};
use anofpdm_common::queue::LeaseId;

pub use entry::{CACHE, ChosenPrecision, Entry};
use key_states::{Delivery, KeyStates, WorkerIndex};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageCost {
    /// Evaluations of real slices.
    pub evaluations: u64,
    /// Evaluations spent on padding.
    pub padding: u64,
    /// Device time, milliseconds.
    pub device_millis: u64,
}

impl std::ops::AddAssign for StageCost {
    fn add_assign(&mut self, more: Self) {
        self.evaluations = self.evaluations.saturating_add(more.evaluations);
        self.padding = self.padding.saturating_add(more.padding);
        self.device_millis = self.device_millis.saturating_add(more.device_millis);
    }
}

/// What devices drew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Energy {
    pub millijoules: u64,
    /// Device time in which they drew it: that of devices whose driver tells it.
    pub device_millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub spec: Digest,
    pub data: Digest,
    pub run: String,
}

/// Shards run a second time to compare bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditCounts {
    pub shards: u64,
    /// Whose records were all equal to the earlier ones.
    pub agreed: u64,
    /// With a record that differed.
    pub conflicts: u64,
}

/// What became of a record that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// A record of its key counts since then.
    Counted,
    /// The same bits were there.
    Duplicate,
    /// Other bits were there.
    Conflict,
}

/// What one entry changed, as far as somebody has to act on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Of a delivery, each record in its order.
    pub outcomes: Vec<RecordOutcome>,
    /// Of a delivery, that everything in it was known.
    pub repeated: bool,
    /// Keys with a delivery that differs from another: each is an alarm.
    pub conflicts: Vec<Digest>,
    /// Keys that need another delivery before a record counts.
    pub contested: Vec<Digest>,
}

/// The state of a run: its entries, added up.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Spec and data the run belongs to, and its name in a queue.
    pub created: Option<Created>,
    pub profile: Option<NumericProfile>,
    /// What calibration and scoring compute in.
    pub precision: Option<ChosenPrecision>,
    pub weights: BTreeMap<String, Digest>,
    /// Plan and number of records by stage.
    pub planned: BTreeMap<Stage, (Digest, u64)>,
    pub finished: BTreeMap<Stage, u64>,
    /// Cost by stage of deliveries that brought something new.
    pub cost: BTreeMap<Stage, StageCost>,
    /// The same delivery by delivery: the first record key, and what it took.
    pub deliveries: Vec<(Digest, StageCost)>,
    /// Cost of deliveries of which every key was known: audits, copies, deliveries after a lost lease.
    pub repeated: StageCost,
    /// Keys delivered again with equal bits, once a delivery.
    pub duplicates: Vec<Digest>,
    /// Keys delivered with different bits, once a delivery.
    pub conflicts: Vec<Digest>,
    /// Shards run to compare bits.
    pub audits: AuditCounts,
    /// Workers that gave wrong bits, and what they did.
    pub distrusted: BTreeMap<String, String>,
    /// What devices drew, as far as their drivers told.
    pub energy: Energy,
    /// Time coordinators were at work, milliseconds.
    pub wall_millis: u64,
    /// When all records of the score stage were there, Unix time in seconds.
    pub scored: Option<u64>,
    keys: KeyStates,
    workers: Vec<String>,
    indices: BTreeMap<String, WorkerIndex>,
    /// Found wrong by a decision and not yet distrusted.
    suspects: BTreeSet<WorkerIndex>,
    /// Deliveries that are in the journal.
    delivered: HashSet<(WorkerIndex, LeaseId)>,
}

impl Ledger {
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        match entry {
            Entry::Created { spec, data, run } => {
                self.created = Some(Created {
                    spec: *spec,
                    data: *data,
                    run: run.clone(),
                });
            }
            Entry::Profile(profile) => self.profile = Some(profile.clone()),
            Entry::Precision(chosen) => self.precision = Some(chosen.clone()),
            Entry::Weights { network, weights } => {
                self.weights.insert(network.clone(), *weights);
            }
            Entry::Planned {
                stage,
                plan,
                records,
            } => {
                self.planned.insert(*stage, (*plan, *records));
            }
            Entry::Delivered {
                stage,
                records,
                evaluations,
                padding,
                device_millis,
                worker,
                lease,
                audit,
            } => {
                let cost = StageCost {
                    evaluations: *evaluations,
                    padding: *padding,
                    device_millis: *device_millis,
                };
                let worker = self.index(worker);
                self.delivered.insert((worker, *lease));
                return self.deliver(*stage, records, worker, cost, *audit);
            }
            Entry::Stopped { wall_millis } => {
                self.wall_millis = self.wall_millis.saturating_add(*wall_millis);
            }
            Entry::Scored { unix_seconds } => self.scored = Some(*unix_seconds),
            Entry::Distrusted { worker, reason } => return self.distrust(worker, reason),
            Entry::Energy {
                millijoules,
                device_millis,
            } => {
                let energy = &mut self.energy;
                energy.millijoules = energy.millijoules.saturating_add(*millijoules);
                energy.device_millis = energy.device_millis.saturating_add(*device_millis);
            }
        }
        Applied::default()
    }

    fn deliver(
        &mut self,
        stage: Stage,
        records: &[(Digest, Digest)],
        worker: WorkerIndex,
        cost: StageCost,
        audit: bool,
    ) -> Applied {
        let mut applied = Applied {
            outcomes: Vec::with_capacity(records.len()),
            ..Applied::default()
        };
        let mut new = 0;
        let mut counted = 0;
        let mut lost = 0;
        for (key, record) in records {
            let counts = self.keys.record(*key).is_some();
            applied
                .outcomes
                .push(match self.keys.deliver(stage, *key, *record, worker) {
                    Delivery::First => {
                        new += 1;
                        counted += 1;
                        RecordOutcome::Counted
                    }
                    Delivery::Duplicate => {
                        self.duplicates.push(*key);
                        RecordOutcome::Duplicate
                    }
                    Delivery::Repeated => {
                        self.duplicates.push(*key);
                        applied.contested.push(*key);
                        RecordOutcome::Duplicate
                    }
                    Delivery::Conflict => {
                        lost += u64::from(counts);
                        self.conflicts.push(*key);
                        applied.conflicts.push(*key);
                        applied.contested.push(*key);
                        RecordOutcome::Conflict
                    }
                    Delivery::Outvoted => {
                        self.conflicts.push(*key);
                        applied.conflicts.push(*key);
                        self.suspects.insert(worker);
                        RecordOutcome::Conflict
                    }
                    Delivery::Decided(wrong) => {
                        counted += 1;
                        self.suspects.extend(wrong);
                        RecordOutcome::Counted
                    }
                });
        }
        let finished = self.finished.entry(stage).or_default();
        *finished = (*finished + counted).saturating_sub(lost);
        if counted > 0 && stage == Stage::Score {
            self.scored = None;
        }
        applied.repeated = new == 0 && !records.is_empty();
        if !applied.repeated {
            *self.cost.entry(stage).or_default() += cost;
            if let Some((key, _)) = records.first() {
                self.deliveries.push((*key, cost));
            }
        } else {
            self.repeated += cost;
        }
        if audit {
            self.audits.shards += 1;
            if applied.conflicts.is_empty() {
                self.audits.agreed += 1;
            } else {
                self.audits.conflicts += 1;
            }
        }
        applied
    }

    fn distrust(&mut self, worker: &str, reason: &str) -> Applied {
        self.distrusted.insert(worker.to_owned(), reason.to_owned());
        let index = self.index(worker);
        self.suspects.remove(&index);
        let contested = self.keys.distrust(index);
        for (_, stage) in &contested {
            let finished = self.finished.entry(*stage).or_default();
            *finished = finished.saturating_sub(1);
        }
        Applied {
            contested: contested.into_iter().map(|(key, _)| key).collect(),
            ..Applied::default()
        }
    }

    fn index(&mut self, worker: &str) -> WorkerIndex {
        if let Some(index) = self.indices.get(worker) {
            return *index;
        }
        let index = WorkerIndex::try_from(self.workers.len()).unwrap_or(WorkerIndex::MAX - 1);
        self.workers.push(worker.to_owned());
        self.indices.insert(worker.to_owned(), index);
        index
    }

    fn name(&self, index: WorkerIndex) -> Option<&str> {
        self.workers.get(index as usize).map(String::as_str)
    }

    /// The record that counts for `key`.
    pub fn record(&self, key: Digest) -> Option<Digest> {
        self.keys.record(key)
    }

    /// True when `key` was delivered, whether or not a record counts.
    pub fn is_known(&self, key: Digest) -> bool {
        self.keys.is_known(key)
    }

    /// True when a record of `key` counts on the word of one worker alone.
    pub fn is_single(&self, key: Digest) -> bool {
        self.keys.is_single(key)
    }

    /// The workers that delivered `key`, once for each different delivery that is still open; none once
    /// two of them have agreed.
    pub fn deliverers(&self, key: Digest) -> Vec<&str> {
        self.keys
            .deliverers(key)
            .into_iter()
            .filter_map(|index| self.name(index))
            .collect()
    }

    /// Keys of which no record counts although there are deliveries.
    pub const fn contested(&self) -> u64 {
        self.keys.contested()
    }

    /// Workers that a decision found wrong and that no entry distrusts yet.
    pub fn suspects(&self) -> Vec<String> {
        self.suspects
            .iter()
            .filter_map(|index| self.name(*index))
            .filter(|name| !self.distrusted.contains_key(*name))
            .map(str::to_owned)
            .collect()
    }

    /// True when this very delivery is in the journal already.
    pub fn is_delivered(&self, worker: &str, lease: LeaseId) -> bool {
        self.indices
            .get(worker)
            .is_some_and(|index| self.delivered.contains(&(*index, lease)))
    }

    /// Every artifact a counted or contested key points at, for `gc`.
    pub fn referenced(&self) -> impl Iterator<Item = Digest> + '_ {
        let report = self.precision.as_ref().and_then(|chosen| chosen.report);
        self.keys.records().chain(report)
    }
}

#[cfg(test)]
mod tests;
