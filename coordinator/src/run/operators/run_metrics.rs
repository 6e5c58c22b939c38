//! What the coordinator tells Prometheus of its run: gauges from the same [`Snapshot`] that `live.json` holds, counters
//! where things happen.

mod last_look;
mod pages;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anofpdm_common::instance::unix_millis;
use anofpdm_common::plan::Stage;
use anofpdm_common::queue::{ErrorClass, Priority};
use anofpdm_common::telemetry::endpoint::{Endpoint, EndpointError};
use anofpdm_common::telemetry::inventory::run as inventory;
use anofpdm_common::telemetry::queue_calls;
use anofpdm_common::telemetry::registry::{MetricsError, MetricsRegistry};
use prometheus::{CounterVec, GaugeVec, HistogramVec};

use self::last_look::Looks;
use super::snapshot::{Snapshot, Work};
use crate::ledger::{AuditCounts, RecordOutcome, StageCost};

/// The metrics of one run. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct RunMetrics(Arc<Metrics>);

#[derive(Debug)]
struct Metrics {
    registry: MetricsRegistry,
    run_info: GaugeVec,
    ended: GaugeVec,
    stage_work: GaugeVec,
    stage_eta: GaugeVec,
    paused: GaugeVec,
    slices_scored: CounterVec,
    records: GaugeVec,
    records_delivered: CounterVec,
    evaluations: CounterVec,
    device_seconds: CounterVec,
    shards: GaugeVec,
    oldest_shard: GaugeVec,
    shard_wait: HistogramVec,
    shard_seconds: HistogramVec,
    shard_ends: CounterVec,
    shard_errors: CounterVec,
    lease_remaining: GaugeVec,
    extra_shards: CounterVec,
    audits: CounterVec,
    contested: GaugeVec,
    rejected: CounterVec,
    workers: GaugeVec,
    workers_wanted: GaugeVec,
    worker_info: GaugeVec,
    worker_device_seconds: CounterVec,
    worker_evaluations: CounterVec,
    worker_events: CounterVec,
    last_result: GaugeVec,
    journal_append: HistogramVec,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the loop came round last.
    turned: Instant,
    /// The queue is open and the loop at work.
    at_work: bool,
    /// Workers with series of their own: name, host, device.
    workers: BTreeSet<[String; 3]>,
    /// `/workers` as it is served.
    targets: String,
    looks: Looks,
}

/// How a lease or a shard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum ShardEnd {
    Accepted,
    /// Journaled before.
    Duplicate,
    Rejected,
    Failed,
    Crashed,
    HandedBack,
    Cancelled,
}

/// What happened to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum WorkerEvent {
    Joined,
    Left,
    Refused,
    Retired,
    Restarted,
}

impl RunMetrics {
    /// The metrics of the run of this name in the queue; nothing is counted yet.
    ///
    /// # Errors
    /// [`MetricsError::Registration`], which would be a bug.
    pub fn new(run: &str) -> Result<Self, MetricsError> {
        let registry = MetricsRegistry::new(&[("run", run)])?;
        let metrics = Metrics {
            run_info: registry.gauge(&inventory::RUN_INFO)?,
            ended: registry.gauge(&inventory::RUN_ENDED)?,
            stage_work: registry.gauge(&inventory::STAGE_WORK)?,
            stage_eta: registry.gauge(&inventory::STAGE_ETA_SECONDS)?,
            paused: registry.gauge(&inventory::PAUSED)?,
            slices_scored: registry.counter(&inventory::SLICES_SCORED_TOTAL)?,
            records: registry.gauge(&inventory::RECORDS)?,
            records_delivered: registry.counter(&inventory::RECORDS_TOTAL)?,
            evaluations: registry.counter(&inventory::EVALUATIONS_TOTAL)?,
            device_seconds: registry.counter(&inventory::DEVICE_SECONDS_TOTAL)?,
            shards: registry.gauge(&inventory::SHARDS)?,
            oldest_shard: registry.gauge(&inventory::OLDEST_SHARD_SECONDS)?,
            shard_wait: registry.histogram(&inventory::SHARD_WAIT_SECONDS)?,
            shard_seconds: registry.histogram(&inventory::SHARD_SECONDS)?,
            shard_ends: registry.counter(&inventory::SHARD_ENDS_TOTAL)?,
            shard_errors: registry.counter(&inventory::SHARD_ERRORS_TOTAL)?,
            lease_remaining: registry.gauge(&inventory::LEASE_REMAINING_RATIO)?,
            extra_shards: registry.counter(&inventory::EXTRA_SHARDS_TOTAL)?,
            audits: registry.counter(&inventory::AUDITS_TOTAL)?,
            contested: registry.gauge(&inventory::CONTESTED_RECORDS)?,
            rejected: registry.counter(&inventory::REJECTED_RESULTS_TOTAL)?,
            workers: registry.gauge(&inventory::WORKERS)?,
            workers_wanted: registry.gauge(&inventory::WORKERS_WANTED)?,
            worker_info: registry.gauge(&inventory::WORKER_INFO)?,
            worker_device_seconds: registry.counter(&inventory::WORKER_DEVICE_SECONDS_TOTAL)?,
            worker_evaluations: registry.counter(&inventory::WORKER_EVALUATIONS_TOTAL)?,
            worker_events: registry.counter(&inventory::WORKER_EVENTS_TOTAL)?,
            last_result: registry.gauge(&inventory::LAST_RESULT_TIMESTAMP_SECONDS)?,
            journal_append: registry.histogram(&inventory::JOURNAL_APPEND_SECONDS)?,
            state: Mutex::new(State {
                turned: Instant::now(),
                at_work: false,
                workers: BTreeSet::new(),
                targets: "[]".to_owned(),
                looks: Looks::default(),
            }),
            registry,
        };
        one(&metrics.paused, 0.0);
        one(&metrics.oldest_shard, 0.0);
        one(&metrics.contested, 0.0);
        one(&metrics.workers_wanted, 0.0);
        one(&metrics.last_result, now_seconds());
        for state in ["queued", "leased", "retrying", "dead"] {
            metrics.shards.with_label_values(&[state]).set(0.0);
        }
        for outcome in ["finished", "interrupted", "cancelled", "failed"] {
            metrics.ended.with_label_values(&[outcome]).set(0.0);
        }
        for state in ["busy", "idle"] {
            metrics.workers.with_label_values(&[state]).set(0.0);
        }
        Ok(Self(Arc::new(metrics)))
    }

    /// Serves them at `address`, and counts calls to the queue's server beside.
    ///
    /// # Errors
    /// [`EndpointError`] when the address cannot be had.
    pub fn serve(&self, address: SocketAddr) -> Result<Endpoint, EndpointError> {
        if let Err(error) = queue_calls::count(&self.0.registry) {
            tracing::warn!(%error, "calls to the queue are not counted");
        }
        Endpoint::start(address, Arc::new(self.clone()))
    }

    /// What the run is, as far as it is known.
    pub fn identify(&self, spec: &str, data: &str, precision: &str, device: &str) {
        let info = &self.0.run_info;
        let _whole = self.0.state();
        info.reset();
        let version = env!("CARGO_PKG_VERSION");
        info.with_label_values(&[spec, data, precision, device, version])
            .set(1.0);
    }

    /// How far the run is: what `live.json` says at the same moment. `ttl` is the time of a fresh lease.
    pub(in crate::run) fn show(&self, snapshot: &Snapshot, oldest: Duration, ttl: Duration) {
        let metrics = &*self.0;
        // Held throughout: a page is of this look or of the one before, never of half of it.
        let mut state = metrics.state();
        one(&metrics.paused, f64::from(u8::from(snapshot.paused)));
        one(&metrics.oldest_shard, oldest.as_secs_f64());
        one(&metrics.contested, float(snapshot.verdicts.contested));
        let counts = &snapshot.shards;
        for (state, count) in [
            ("queued", counts.queued),
            ("leased", counts.leased),
            ("retrying", counts.retrying),
            ("dead", counts.dead),
        ] {
            metrics.shards.with_label_values(&[state]).set(float(count));
        }
        metrics.stage_work.reset();
        metrics.stage_eta.reset();
        if let (Some(stage), Some(work)) = (snapshot.stage, &snapshot.work) {
            metrics.show_work(stage, work);
        }
        let leases = snapshot.all_workers().flat_map(|worker| &worker.leases);
        let shares = leases.map(|held| held.deadline_seconds / ttl.as_secs_f64().max(1e-3));
        metrics.lease_remaining.reset();
        if let Some(least) = shares.reduce(f64::min) {
            one(&metrics.lease_remaining, least.clamp(0.0, 1.0));
        }
        metrics.show_workers(snapshot, &mut state);
        state.turned = Instant::now();
        state.at_work = snapshot.ended.is_none();
    }

    /// The loop came round.
    pub(in crate::run) fn turned(&self) {
        self.0.state().turned = Instant::now();
    }

    /// Records of the stage at work by method: name, those that count, those planned.
    pub(in crate::run) fn methods<'a>(
        &self,
        stage: Stage,
        methods: impl Iterator<Item = (&'a str, u64, u64)>,
    ) {
        let metrics = &*self.0;
        for (method, done, planned) in methods {
            for (state, count) in [("done", done), ("planned", planned)] {
                let labels = [stage.name(), method, state];
                metrics.records.with_label_values(&labels).set(float(count));
            }
            for outcome in ["counted", "duplicate", "conflict", "cached"] {
                let labels = [stage.name(), method, outcome];
                metrics.records_delivered.with_label_values(&labels);
            }
        }
    }

    /// So much more of the slices of a stage is there.
    pub(in crate::run) fn slices_scored(&self, stage: Stage, slices: f64) {
        if slices > 0.0 {
            let counter = self.0.slices_scored.with_label_values(&[stage.name()]);
            counter.inc_by(slices);
        }
    }

    /// A record of `method` was delivered, or came from the cache.
    pub(in crate::run) fn record(&self, stage: Stage, method: &str, outcome: RecordOutcome) {
        let outcome = match outcome {
            RecordOutcome::Counted => "counted",
            RecordOutcome::Duplicate => "duplicate",
            RecordOutcome::Conflict => "conflict",
        };
        self.0
            .records_delivered
            .with_label_values(&[stage.name(), method, outcome])
            .inc();
    }

    /// A record of `method` was taken from the cache.
    pub(in crate::run) fn cached(&self, stage: Stage, method: &str) {
        self.0
            .records_delivered
            .with_label_values(&[stage.name(), method, "cached"])
            .inc();
    }

    /// What a delivery of `worker` took; `repeated` when all of it was there already.
    pub(in crate::run) fn paid(&self, stage: Stage, worker: &str, cost: StageCost, repeated: bool) {
        let metrics = &*self.0;
        let stage = stage.name();
        let add = |kind: &str, count: u64| {
            let counter = metrics.evaluations.with_label_values(&[stage, kind]);
            counter.inc_by(float(count));
        };
        let all = cost.evaluations.saturating_add(cost.padding);
        if repeated {
            add("repeated", all);
        } else {
            add("slice", cost.evaluations);
            add("padding", cost.padding);
        }
        let kind = if repeated { "repeated" } else { "counted" };
        let seconds = float(cost.device_millis) / 1e3;
        metrics
            .device_seconds
            .with_label_values(&[stage, kind])
            .inc_by(seconds);
        // A worker that is gone has no series: what it delivered last stands in the sums above.
        if metrics
            .state()
            .workers
            .iter()
            .any(|[name, ..]| name == worker)
        {
            metrics
                .worker_device_seconds
                .with_label_values(&[worker])
                .inc_by(seconds);
            metrics
                .worker_evaluations
                .with_label_values(&[worker])
                .inc_by(float(all));
        }
        one(&metrics.last_result, now_seconds());
    }

    pub(in crate::run) fn shard_ended(&self, stage: Stage, end: ShardEnd) {
        let outcome = match end {
            ShardEnd::Accepted => "accepted",
            ShardEnd::Duplicate => "duplicate",
            ShardEnd::Rejected => "rejected",
            ShardEnd::Failed => "failed",
            ShardEnd::Crashed => "crashed",
            ShardEnd::HandedBack => "handed_back",
            ShardEnd::Cancelled => "cancelled",
        };
        self.0
            .shard_ends
            .with_label_values(&[stage.name(), outcome])
            .inc();
    }

    pub(in crate::run) fn error(&self, class: ErrorClass) {
        let class = match class {
            ErrorClass::Transient => "transient",
            ErrorClass::BadInput => "bad_input",
            ErrorClass::OutOfMemory => "out_of_memory",
            ErrorClass::DeviceLost => "device_lost",
            ErrorClass::Fatal => "fatal",
        };
        self.0.shard_errors.with_label_values(&[class]).inc();
    }

    /// Why a result was not accepted, in a word of the inventory.
    pub(in crate::run) fn rejected(&self, reason: &str) {
        self.0.rejected.with_label_values(&[reason]).inc();
    }

    /// A shard that waited for its first lease.
    pub(in crate::run) fn waited(&self, priority: Priority, time: Duration) {
        let histogram = self.0.shard_wait.with_label_values(&[priority.name()]);
        histogram.observe(time.as_secs_f64());
    }

    /// A shard whose result counts was held for so long.
    pub(in crate::run) fn held(&self, stage: Stage, time: Duration) {
        let histogram = self.0.shard_seconds.with_label_values(&[stage.name()]);
        histogram.observe(time.as_secs_f64());
    }

    /// A shard beyond the plan: `audit`, `opinion` or `copy`.
    pub(in crate::run) fn extra_shard(&self, purpose: &str) {
        self.0.extra_shards.with_label_values(&[purpose]).inc();
    }

    /// Audits that came in between two looks at the ledger.
    pub(in crate::run) fn audited(&self, before: AuditCounts, after: AuditCounts) {
        let audits = &self.0.audits;
        for (outcome, more) in [
            ("agreed", after.agreed.saturating_sub(before.agreed)),
            ("conflict", after.conflicts.saturating_sub(before.conflicts)),
        ] {
            audits.with_label_values(&[outcome]).inc_by(float(more));
        }
    }

    pub(in crate::run) fn worker(&self, event: WorkerEvent) {
        let event = match event {
            WorkerEvent::Joined => "joined",
            WorkerEvent::Left => "left",
            WorkerEvent::Refused => "refused",
            WorkerEvent::Retired => "retired",
            WorkerEvent::Restarted => "restarted",
        };
        self.0.worker_events.with_label_values(&[event]).inc();
    }

    /// How many workers the work left has use for.
    pub(in crate::run) fn workers_wanted(&self, workers: u64) {
        one(&self.0.workers_wanted, float(workers));
    }

    /// An entry of the journal was written and synced.
    pub(in crate::run) fn journaled(&self, time: Duration) {
        let histogram = self.0.journal_append.with_label_values(&[] as &[&str]);
        histogram.observe(time.as_secs_f64());
    }
}

impl Metrics {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_work(&self, stage: Stage, work: &Work) {
        let stage = stage.name();
        for (state, count) in [("done", work.done), ("planned", work.total)] {
            self.stage_work
                .with_label_values(&[stage, work.unit.name(), state])
                .set(float(count));
        }
        if let Some(eta) = work.eta_seconds {
            self.stage_eta.with_label_values(&[stage]).set(eta);
        }
    }

    /// Series and targets of those that are there; of those that are gone nothing stays.
    fn show_workers(&self, snapshot: &Snapshot, state: &mut State) {
        let busy = snapshot.workers_at_work();
        let idle = snapshot.workers_total().saturating_sub(busy);
        for (state, count) in [("busy", busy), ("idle", idle)] {
            self.workers.with_label_values(&[state]).set(float(count));
        }
        // Series for those listed alone: three a worker, and no fleet outgrows a page. Counts and targets are of all.
        let there: BTreeSet<[String; 3]> = snapshot
            .workers
            .iter()
            .map(|worker| [&worker.name, &worker.host, &worker.device].map(Clone::clone))
            .collect();
        for gone in state.workers.difference(&there) {
            let [name, host, device] = gone;
            for removed in [
                self.worker_info.remove_label_values(&[name, host, device]),
                self.worker_device_seconds.remove_label_values(&[name]),
                self.worker_evaluations.remove_label_values(&[name]),
            ] {
                if let Err(error) = removed {
                    tracing::debug!(%error, worker = name, "a series of a worker was not there");
                }
            }
        }
        for [name, host, device] in there.difference(&state.workers) {
            self.worker_info
                .with_label_values(&[name, host, device])
                .set(1.0);
            self.worker_device_seconds.with_label_values(&[name]);
            self.worker_evaluations.with_label_values(&[name]);
        }
        state.workers = there;
        state.targets = pages::targets(snapshot.all_workers());
    }
}

/// Sets a gauge without labels of its own.
fn one(gauge: &GaugeVec, value: f64) {
    gauge.with_label_values(&[] as &[&str]).set(value);
}

#[allow(clippy::cast_precision_loss)]
const fn float(count: u64) -> f64 {
    count as f64
}

fn now_seconds() -> f64 {
    float(unix_millis()) / 1e3
}

#[cfg(test)]
mod tests;
