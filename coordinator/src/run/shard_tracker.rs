//! The shards under way, and what follows from what happens to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, Job, Task};
use anofpdm_common::queue::{Priority, Submission, WorkerStatus};

use super::active_plan::{ActiveForward, ActivePlan};
use super::error::NoAgreement;
use super::shard_event::ShardEvent;
use crate::ledger::Ledger;

/// Further opinions on one key before the run gives up: the devices do not agree with themselves.
const MAX_OPINIONS: u32 = 6;

/// A shard is a straggler after this many times its expected duration.
const STRAGGLES: f64 = 1.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// To compare bits.
    Audit,
    /// Deliveries disagree.
    Opinion,
    /// The same as this shard, which takes long.
    Copy(u64),
}

impl Purpose {
    const fn priority(self) -> Priority {
        match self {
            Self::Work => Priority::Normal,
            Self::Audit => Priority::Background,
            Self::Opinion | Self::Copy(_) => Priority::Urgent,
        }
    }
}

/// What the tracker wants done; the scheduler does it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Submit(Submission),
    /// Take a shard out of the queue. One that is done, or cannot be reached, comes to its own end.
    Cancel(u64),
    /// What this shard brings is compared with records that are there.
    MarkAudit(u64),
    /// Give a worker nothing any more.
    Retire {
        worker: String,
        reason: String,
    },
}

/// What the tracker's answers depend on beside its own shards.
pub(super) struct Context<'a> {
    pub(super) active: &'a ActivePlan,
    pub(super) ledger: &'a Ledger,
    pub(super) workers: &'a [WorkerStatus],
    pub(super) now: Instant,
}

impl Context<'_> {
    fn worker_names(&self) -> impl Iterator<Item = &str> {
        self.workers
            .iter()
            .map(|worker| worker.info.worker.as_str())
    }
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
    /// When it was submitted, or taken over.
    since: Instant,
    /// It was with a worker once.
    begun: bool,
}

/// Time and evaluations of what was delivered in this stage.
#[derive(Debug, Default)]
struct Throughput {
    time: Duration,
    evaluations: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct TrackerRules {
    /// Share of the finished shards that are run again to compare bits.
    pub(super) audit: f64,
    /// No shard is a straggler before it has been under way for this long.
    pub(super) patience: Duration,
}

/// Knows every shard that was submitted and has not come to an end, and answers each [`ShardEvent`] with
/// [`Command`]s. It touches neither queue nor journal, so it can be tested without either.
///
/// A shard goes through these states. The queue knows those on the left; the tracker adds why a shard is there and what
/// its end brings about:
///
/// ```text
///   planned ── cut by the ShardSource when the queue runs low
///      │ register
///      ▼
///   queued ◀──────────────── released, crashed, failed (after a pause)
///      │ Begun                        ▲                  │ too often, or out of memory
///      ▼                              │                  ▼
///   leased ──────── Ended ────────────┘                dead: the stage goes on without it, then fails;
///      │                                                   `dead retry` or the next start offers it again
///      │ delivered and verified (ResultCommitter)
///      ▼
///   done ─┬─ the dice say so: queued once more as an audit, for another worker, which compares bits
///         ├─ it had a copy, or was one: the other is cancelled
///         └─ Contested keys: queued as an opinion, for a worker that has said nothing about them yet;
///            where there is none the keys are parked until one comes
/// ```
///
/// - An *audit* runs a shard again on another worker and compares bits. Which shards are audited is thrown by the key
///   of the first record, so it is the same for every order of events.
/// - A key whose deliveries disagree needs a further *opinion*. After [`MAX_OPINIONS`] of them the run stops: devices
///   that do not agree with themselves make no table.
/// - At the end of a stage, when workers have nothing to do, a shard that takes much longer than expected is given to
///   another worker as well. The first result counts; the *copy* or the original is then cancelled.
///
/// All of it is safe since a result has a key: whoever computes it, the same key has the same bits.
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
    throughput: Throughput,
}

impl ShardTracker {
    pub(super) fn new(rules: TrackerRules) -> Self {
        Self {
            rules,
            shards: BTreeMap::new(),
            next: 0,
            opinions: HashMap::new(),
            parked: BTreeSet::new(),
            asked: Vec::new(),
            throughput: Throughput::default(),
        }
    }

    /// The next stage begins: its evaluations take another time. Shards are numbered from `next` on, at least.
    pub(super) fn begin_stage(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.shards.clear();
        self.opinions.clear();
        self.parked.clear();
        self.throughput = Throughput::default();
    }

    /// Time of one network evaluation in this stage, once measured.
    pub(super) fn evaluation(&self) -> Option<Duration> {
        let Throughput { time, evaluations } = self.throughput;
        (evaluations > 0).then(|| time.div_f64(evaluations as f64))
    }

    /// A shard about to be submitted, for any worker.
    pub(super) fn register(&mut self, job: Job, purpose: Purpose, evaluations: u32) -> Submission {
        let shard = self.next;
        self.adopt(shard, job.clone(), purpose, evaluations);
        Submission {
            priority: purpose.priority(),
            ..Submission::new(shard, job)
        }
    }

    /// Follows a shard that has a number, for instance since an earlier coordinator left it in the queue.
    pub(super) fn adopt(&mut self, number: u64, job: Job, purpose: Purpose, evaluations: u32) {
        self.next = self.next.max(number + 1);
        self.shards.insert(
            number,
            Shard {
                job,
                purpose,
                evaluations,
                holder: None,
                copy: None,
                since: Instant::now(),
                begun: false,
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

    /// How long a shard that no worker has had yet has waited for one, and how soon it was wanted.
    pub(super) fn waited(&self, number: u64, now: Instant) -> Option<(Priority, Duration)> {
        let shard = self.shards.get(&number).filter(|shard| !shard.begun)?;
        let time = now.saturating_duration_since(shard.since);
        Some((shard.purpose.priority(), time))
    }

    /// How long the worker that has a shard has had it.
    pub(super) fn held(&self, number: u64, now: Instant) -> Option<Duration> {
        let (_, since) = self.shards.get(&number)?.holder.as_ref()?;
        Some(now.saturating_duration_since(*since))
    }

    /// Age of the oldest shard under way.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let since = self.shards.values().map(|shard| shard.since).min();
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Network evaluations of what is under way, and shards.
    pub(super) fn left(&self) -> (u64, u64) {
        let evaluations = self
            .shards
            .values()
            .map(|shard| u64::from(shard.evaluations));
        (evaluations.sum(), self.shards.len() as u64)
    }

    /// Numbers of what is under way.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.shards.keys().copied()
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.shards.remove(&number);
    }

    /// True while keys wait for another worker.
    pub(super) fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(super) fn on_event(
        &mut self,
        event: ShardEvent,
        context: &Context<'_>,
    ) -> Result<Vec<Command>, NoAgreement> {
        match event {
            ShardEvent::Begun { lease, worker } => {
                if let Some(shard) = self.shards.get_mut(&lease.shard) {
                    shard.holder = Some((worker, context.now));
                    shard.begun = true;
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
                self.throughput.time += Duration::from_millis(device_millis);
                self.throughput.evaluations += evaluations;
                return Ok(self.accepted(lease.shard, context));
            }
            ShardEvent::Contested { keys, by } => return self.ask_again(&keys, Some(&by), context),
            ShardEvent::Distrusted { worker, reason } => {
                return Ok(vec![Command::Retire { worker, reason }]);
            }
        }
        Ok(Vec::new())
    }

    fn accepted(&mut self, number: u64, context: &Context<'_>) -> Vec<Command> {
        let mut commands = Vec::new();
        let Some(done) = self.shards.remove(&number) else {
            return commands;
        };
        let twin = match done.purpose {
            Purpose::Copy(original) => Some(original),
            _ => done.copy,
        };
        if let Some(twin) = twin
            && self.shards.remove(&twin).is_some()
        {
            commands.push(Command::Cancel(twin));
        }
        let is_result = matches!(done.purpose, Purpose::Work | Purpose::Copy(_));
        if is_result && context.workers.len() > 1 && self.is_audited(&done.job, context.active) {
            let mut audit = self.register(done.job, Purpose::Audit, done.evaluations);
            audit.avoid = done.holder.map(|(worker, _)| worker).into_iter().collect();
            commands.push(Command::MarkAudit(audit.shard));
            commands.push(Command::Submit(audit));
        }
        commands
    }

    /// Whether the dice, thrown by the key of the first record, say so.
    fn is_audited(&self, job: &Job, active: &ActivePlan) -> bool {
        let (Task::Batches(run), Some(active)) = (&job.task, active.forward()) else {
            return false;
        };
        let first = run.parts().next();
        let key = first.and_then(|(batch, cell)| active.key(batch, cell));
        let dice = key
            .as_ref()
            .and_then(|key| key.as_bytes().first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        f64::from(dice) < self.rules.audit * f64::from(u32::MAX) || self.rules.audit >= 1.0
    }

    /// Asks again about the keys that wait, once there are other workers.
    pub(super) fn ask_newcomers(
        &mut self,
        context: &Context<'_>,
    ) -> Result<Vec<Command>, NoAgreement> {
        if self.parked.is_empty()
            || context
                .worker_names()
                .eq(self.asked.iter().map(String::as_str))
        {
            return Ok(Vec::new());
        }
        let keys: Vec<Digest> = std::mem::take(&mut self.parked).into_iter().collect();
        self.ask_again(&keys, None, context)
    }

    /// Asks workers that have not yet said anything about these keys; `by` has just spoken. Where there is no such
    /// worker, those that are there may correct themselves once; then the keys wait for another.
    fn ask_again(
        &mut self,
        keys: &[Digest],
        by: Option<&str>,
        context: &Context<'_>,
    ) -> Result<Vec<Command>, NoAgreement> {
        let mut cells_of: BTreeMap<u32, (BTreeSet<u16>, BTreeSet<String>)> = BTreeMap::new();
        let Some(active) = context.active.forward() else {
            return Ok(Vec::new());
        };
        let ledger = context.ledger;
        for key in keys {
            // Keys of another stage are asked for again when that stage is looked at again.
            let Some((batch, cell)) = active.place_of(*key) else {
                continue;
            };
            let said: BTreeSet<&str> = ledger.deliverers(*key).into_iter().chain(by).collect();
            let asked = self.opinions.entry(*key).or_default();
            let anyone_new = context
                .worker_names()
                .any(|name| !said.contains(name) && !ledger.distrusted.contains_key(name));
            if !anyone_new && *asked > 0 {
                self.park(*key, context);
                continue;
            }
            *asked += 1;
            if *asked > MAX_OPINIONS {
                return Err(NoAgreement {
                    key: *key,
                    opinions: MAX_OPINIONS,
                });
            }
            let (cells, avoid) = cells_of.entry(batch).or_default();
            cells.insert(cell);
            avoid.extend(said.into_iter().map(str::to_owned));
        }
        let mut commands = Vec::new();
        for (batch, (cells, avoid)) in cells_of {
            for cells in by_trajectory(active, cells) {
                let job = active.job(BatchRun {
                    first: batch,
                    count: 1,
                    cells,
                });
                let mut opinion = self.register(job, Purpose::Opinion, 0);
                opinion.avoid = avoid.iter().cloned().collect();
                commands.push(Command::Submit(opinion));
            }
        }
        Ok(commands)
    }

    fn park(&mut self, key: Digest, context: &Context<'_>) {
        if self.parked.is_empty() {
            tracing::warn!(
                "the workers that are there disagree about a record; it waits for another worker: start one, on another device"
            );
        }
        self.parked.insert(key);
        self.asked = context.worker_names().map(str::to_owned).collect();
    }

    /// Gives shards that take much longer than expected to workers that have nothing to do.
    pub(super) fn copy_stragglers(&mut self, context: &Context<'_>) -> Vec<Command> {
        let Some(evaluation) = self.evaluation() else {
            return Vec::new();
        };
        let idle = context.workers.iter().filter(|w| w.leases.is_empty());
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
                        let taken = context.now.saturating_duration_since(*since);
                        taken > expected.max(self.rules.patience)
                    })
            })
            .map(|(number, _)| *number)
            .take(idle.count())
            .collect();
        late.into_iter()
            .filter_map(|number| self.copy(number))
            .collect()
    }

    fn copy(&mut self, number: u64) -> Option<Command> {
        let shard = self.shards.get(&number)?;
        let (job, evaluations) = (shard.job.clone(), shard.evaluations);
        let holder = shard.holder.as_ref().map(|(worker, _)| worker.clone());
        tracing::info!(
            shard = number,
            "takes long: another worker is asked as well"
        );
        let mut copy = self.register(job, Purpose::Copy(number), evaluations);
        copy.avoid = holder.into_iter().collect();
        if let Some(shard) = self.shards.get_mut(&number) {
            shard.copy = Some(copy.shard);
        }
        Some(Command::Submit(copy))
    }
}

/// Cells of one trajectory each, as in every shard.
fn by_trajectory(
    active: &ActiveForward,
    cells: BTreeSet<u16>,
) -> impl Iterator<Item = Vec<u16>> + use<> {
    let mut groups: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for cell in cells {
        let known = active.plan.cells.get(usize::from(cell));
        let trajectory = known.map_or(0, |cell| cell.trajectory);
        groups.entry(trajectory).or_default().push(cell);
    }
    groups.into_values()
}

#[cfg(test)]
mod tests;
