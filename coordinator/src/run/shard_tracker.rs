//! The shards under way, and what follows from what happens to them: audits, further opinions, halves, copies.
//!
//! - An *audit* runs a shard again on another worker and compares bits.
//! - A key whose deliveries disagree needs a further *opinion*, of a worker that has given none yet.
//! - A shard that does not fit in a device's memory is cut in two; its batches stay what they are.
//! - At the end of a stage, when workers have nothing to do, a shard that takes much longer than expected is given to
//!   another worker as well. The first result counts; the *copy* or the original is then cancelled.
//!
//! All of it is safe since a result has a key: whoever computes it, the same key has the same bits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::{Dispatch, Lane, QueueError, Submission, WorkerStatus};
use anofpdm_common::work::{Job, Task};

use super::error::FlightError;
use super::result_committer::{ResultCommitter, ShardEvent};
use super::shard_source::halves;
use super::workers::pool::is_away;

/// Further opinions on one key before the run gives up: the devices do not agree with themselves.
pub(super) const MAX_OPINIONS: u32 = 6;

/// A shard is a straggler after this many times its expected duration.
const STRAGGLES: f64 = 1.5;

/// Why a shard is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its records are missing.
    Work,
    /// To compare bits.
    Audit,
    /// Deliveries disagree.
    Opinion,
    /// The same as this shard, which takes long.
    Copy(u64),
}

#[derive(Debug)]
struct Shard {
    job: Job,
    purpose: Purpose,
    /// Network evaluations, padding included; 0 where they cannot be told.
    evaluations: u32,
    /// Who works on it, and since when.
    holder: Option<(String, Instant)>,
    copy: Option<u64>,
}

/// How shards are followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrackerRules {
    /// Share of the finished shards that are run again to compare bits.
    pub(super) audit: f64,
    /// No shard is a straggler before it has been under way for this long.
    pub(super) patience: Duration,
}

/// Shards that were submitted and have not come to an end.
#[derive(Debug)]
pub(super) struct ShardTracker {
    rules: TrackerRules,
    shards: BTreeMap<u64, Shard>,
    next: u64,
    opinions: HashMap<Digest, u32>,
    /// Keys that wait for a worker that has said nothing about them yet.
    parked: BTreeSet<Digest>,
    /// Workers there were when they were parked.
    asked: Vec<String>,
    /// Time and evaluations of what was delivered in this stage.
    measured: (Duration, u64),
}

/// One stage's keys: where in the plan each lies.
pub(super) type Places = HashMap<Digest, (u32, u16)>;

impl ShardTracker {
    /// Nothing under way.
    pub(super) fn new(rules: TrackerRules) -> Self {
        Self {
            rules,
            shards: BTreeMap::new(),
            next: 0,
            opinions: HashMap::new(),
            parked: BTreeSet::new(),
            asked: Vec::new(),
            measured: (Duration::ZERO, 0),
        }
    }

    /// Shards are numbered from `next` on.
    pub(super) fn start_at(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// The next stage begins: its evaluations take another time.
    pub(super) fn begin_stage(&mut self) {
        self.shards.clear();
        self.opinions.clear();
        self.parked.clear();
        self.measured = (Duration::ZERO, 0);
    }

    /// Time of one network evaluation in this stage, once measured.
    pub(super) fn evaluation(&self) -> Option<Duration> {
        let (time, evaluations) = self.measured;
        (evaluations > 0).then(|| time.div_f64(evaluations as f64))
    }

    /// A number for a shard that is about to be submitted.
    pub(super) fn register(&mut self, job: Job, purpose: Purpose, evaluations: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        self.know(number, job, purpose, evaluations);
        number
    }

    /// A shard that is in the queue already, from an earlier coordinator.
    pub(super) fn adopt(&mut self, number: u64, job: Job, evaluations: u32) {
        self.next = self.next.max(number + 1);
        self.know(number, job, Purpose::Work, evaluations);
    }

    fn know(&mut self, number: u64, job: Job, purpose: Purpose, evaluations: u32) {
        self.shards.insert(
            number,
            Shard {
                job,
                purpose,
                evaluations,
                holder: None,
                copy: None,
            },
        );
    }

    /// Why `number` is under way; `None` when it is not.
    pub(super) fn purpose(&self, number: u64) -> Option<Purpose> {
        self.shards.get(&number).map(|shard| shard.purpose)
    }

    /// What `number` was asked to do, as far as it is under way.
    pub(super) fn job(&self, number: u64) -> Option<&Job> {
        self.shards.get(&number).map(|shard| &shard.job)
    }

    /// Numbers of what is under way.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.shards.keys().copied().collect()
    }

    /// Gives a shard up.
    pub(super) fn forget(&mut self, number: u64) {
        self.shards.remove(&number);
    }

    fn submit(
        &mut self,
        queue: &mut dyn Dispatch,
        job: Job,
        purpose: Purpose,
        evaluations: u32,
        avoid: Vec<String>,
    ) -> Result<u64, QueueError> {
        let shard = self.register(job.clone(), purpose, evaluations);
        let lane = match purpose {
            Purpose::Work => Lane::Normal,
            Purpose::Audit => Lane::Background,
            Purpose::Opinion | Purpose::Copy(_) => Lane::Urgent,
        };
        queue.submit(vec![Submission {
            shard,
            job,
            lane,
            avoid,
        }])?;
        Ok(shard)
    }

    /// True while keys wait for another worker.
    pub(super) fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Draws the consequences of what happened. `workers` are those there are.
    ///
    /// # Errors
    /// [`FlightError`].
    pub(super) fn follow(
        &mut self,
        events: ShardEvent,
        judge: &mut ResultCommitter,
        queue: &mut dyn Dispatch,
        workers: &[WorkerStatus],
        places: &Places,
    ) -> Result<(), FlightError> {
        match events {
            ShardEvent::Begun { lease, worker } => {
                if let Some(shard) = self.shards.get_mut(&lease.shard) {
                    shard.holder = Some((worker, Instant::now()));
                }
            }
            ShardEvent::Ended { lease, .. } => {
                if let Some(shard) = self.shards.get_mut(&lease.shard) {
                    shard.holder = None;
                }
            }
            ShardEvent::Accepted {
                lease,
                evaluations,
                device_millis,
            } => {
                self.measured.0 += Duration::from_millis(device_millis);
                self.measured.1 += evaluations;
                self.accepted(lease.shard, judge, queue, workers.len())?;
            }
            ShardEvent::Contested { keys, by } => {
                self.ask_again(&keys, Some(&by), judge, queue, workers, places)?;
            }
            ShardEvent::OutOfMemory(lease) => self.cut_in_two(lease.shard, queue)?,
            ShardEvent::Distrusted { .. } => {}
        }
        Ok(())
    }

    fn accepted(
        &mut self,
        number: u64,
        judge: &mut ResultCommitter,
        queue: &mut dyn Dispatch,
        workers: usize,
    ) -> Result<(), QueueError> {
        let Some(done) = self.shards.remove(&number) else {
            return Ok(());
        };
        let twin = match done.purpose {
            Purpose::Copy(original) => Some(original),
            _ => done.copy,
        };
        if let Some(twin) = twin
            && self.shards.remove(&twin).is_some()
        {
            call_off(twin, queue)?;
        }
        let is_result = matches!(done.purpose, Purpose::Work | Purpose::Copy(_));
        if is_result && workers > 1 && self.is_audited(&done.job, judge) {
            let avoid = done.holder.map(|(worker, _)| worker).into_iter().collect();
            let job = done.job;
            let audit = self.submit(queue, job, Purpose::Audit, done.evaluations, avoid)?;
            judge.audits.insert(audit);
        }
        Ok(())
    }

    /// Whether the dice, thrown by the key of the first record, say so: the same for every order of events.
    fn is_audited(&self, job: &Job, judge: &ResultCommitter) -> bool {
        let (Task::Batches { first, cells, .. }, Some((_, plan))) =
            (&job.task, judge.current.forward_plan())
        else {
            return false;
        };
        let key = cells
            .first()
            .and_then(|cell| plan.record_key(*first as usize, usize::from(*cell)).ok());
        let dice = key
            .as_ref()
            .and_then(|key| key.as_bytes().first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        f64::from(dice) < self.rules.audit * f64::from(u32::MAX) || self.rules.audit >= 1.0
    }

    /// Asks again about the keys that wait, once there are other workers.
    ///
    /// # Errors
    /// [`FlightError`].
    pub(super) fn ask_newcomers(
        &mut self,
        judge: &ResultCommitter,
        queue: &mut dyn Dispatch,
        workers: &[WorkerStatus],
        places: &Places,
    ) -> Result<(), FlightError> {
        if self.parked.is_empty() || names(workers).eq(self.asked.iter().map(String::as_str)) {
            return Ok(());
        }
        let keys: Vec<Digest> = std::mem::take(&mut self.parked).into_iter().collect();
        self.ask_again(&keys, None, judge, queue, workers, places)
    }

    /// Asks workers that have not yet said anything about these keys; `by` has just spoken. Where there is no such
    /// worker, those that are there may correct themselves once; then the keys wait for another.
    fn ask_again(
        &mut self,
        keys: &[Digest],
        by: Option<&str>,
        judge: &ResultCommitter,
        queue: &mut dyn Dispatch,
        workers: &[WorkerStatus],
        places: &Places,
    ) -> Result<(), FlightError> {
        let mut cells_of: BTreeMap<u32, (BTreeSet<u16>, BTreeSet<String>)> = BTreeMap::new();
        let Some((digest, plan)) = judge.current.forward_plan() else {
            return Ok(());
        };
        let ledger = judge.journal.ledger();
        for key in keys {
            // Keys of another stage are asked for again when that stage is looked at again.
            let Some((batch, cell)) = places.get(key) else {
                continue;
            };
            let said: BTreeSet<&str> = ledger.deliverers(*key).into_iter().chain(by).collect();
            let asked = self.opinions.entry(*key).or_default();
            let anyone_new = names(workers)
                .any(|name| !said.contains(name) && !ledger.distrusted.contains_key(name));
            if !anyone_new && *asked > 0 {
                self.park(*key, workers);
                continue;
            }
            *asked += 1;
            if *asked > MAX_OPINIONS {
                return Err(FlightError::NoAgreement(*key));
            }
            let (cells, avoid) = cells_of.entry(*batch).or_default();
            cells.insert(*cell);
            avoid.extend(said.into_iter().map(str::to_owned));
        }
        for (batch, (cells, avoid)) in cells_of {
            // Of one trajectory each, as every shard.
            let mut by_trajectory: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
            for cell in cells {
                let trajectory = plan
                    .cells
                    .get(usize::from(cell))
                    .map_or(0, |c| c.trajectory);
                by_trajectory.entry(trajectory).or_default().push(cell);
            }
            for cells in by_trajectory.into_values() {
                let job = Job {
                    stage: plan.stage,
                    plan: digest,
                    task: Task::Batches {
                        first: batch,
                        count: 1,
                        cells,
                    },
                };
                let avoid = avoid.iter().cloned().collect();
                self.submit(queue, job, Purpose::Opinion, 0, avoid)?;
            }
        }
        Ok(())
    }

    fn park(&mut self, key: Digest, workers: &[WorkerStatus]) {
        if self.parked.is_empty() {
            tracing::warn!(
                "the workers that are there disagree about a record; it waits for another worker: start one, on another device"
            );
        }
        self.parked.insert(key);
        self.asked = names(workers).map(str::to_owned).collect();
    }

    /// A shard of several batches that was too large for a worker becomes two.
    fn cut_in_two(&mut self, number: u64, queue: &mut dyn Dispatch) -> Result<(), QueueError> {
        let Some(shard) = self.shards.get(&number) else {
            return Ok(());
        };
        let Some(parts) = halves(&shard.job) else {
            return Ok(());
        };
        let (purpose, evaluations) = (shard.purpose, shard.evaluations / 2);
        if purpose != Purpose::Work || !call_off(number, queue)? {
            return Ok(());
        }
        tracing::info!(
            shard = number,
            "too large for the memory of its device: cut in two"
        );
        self.shards.remove(&number);
        for job in parts {
            self.submit(queue, job, purpose, evaluations, Vec::new())?;
        }
        Ok(())
    }

    /// Gives shards that take much longer than expected to workers that have nothing to do.
    ///
    /// # Errors
    /// [`QueueError`].
    pub(super) fn copy_stragglers(
        &mut self,
        queue: &mut dyn Dispatch,
        workers: &[WorkerStatus],
    ) -> Result<(), QueueError> {
        let Some(evaluation) = self.evaluation() else {
            return Ok(());
        };
        let mut idle = workers.iter().filter(|w| w.leases.is_empty()).count();
        let late: Vec<u64> = self
            .shards
            .iter()
            .filter(|(_, shard)| {
                let expected = evaluation
                    .saturating_mul(shard.evaluations)
                    .mul_f64(STRAGGLES);
                shard.purpose == Purpose::Work
                    && shard.copy.is_none()
                    && shard.evaluations > 0
                    && shard.holder.as_ref().is_some_and(|(_, since)| {
                        since.elapsed() > expected.max(self.rules.patience)
                    })
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if idle == 0 {
                break;
            }
            idle -= 1;
            let Some(shard) = self.shards.get(&number) else {
                continue;
            };
            let (job, evaluations) = (shard.job.clone(), shard.evaluations);
            let avoid = shard
                .holder
                .iter()
                .map(|(worker, _)| worker.clone())
                .collect();
            tracing::info!(
                shard = number,
                "takes long: another worker is asked as well"
            );
            let copy = self.submit(queue, job, Purpose::Copy(number), evaluations, avoid)?;
            if let Some(shard) = self.shards.get_mut(&number) {
                shard.copy = Some(copy);
            }
        }
        Ok(())
    }
}

fn names(workers: &[WorkerStatus]) -> impl Iterator<Item = &str> {
    workers.iter().map(|worker| worker.info.worker.as_str())
}

/// Takes a shard out. False when it was not, for instance since the queue is away: then it comes to its own end.
fn call_off(number: u64, queue: &mut dyn Dispatch) -> Result<bool, QueueError> {
    match queue.cancel(number) {
        Err(error) if is_away(&error) => Ok(false),
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
