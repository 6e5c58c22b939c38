//! What a worker tells Prometheus of itself.

use std::sync::Arc;
use std::time::Duration;

use anofpdm_common::plan::Task;
use anofpdm_common::telemetry::endpoint::Pages;
use anofpdm_common::telemetry::inventory::worker as inventory;
use anofpdm_common::telemetry::queue_calls;
use anofpdm_common::telemetry::registry::{MetricsError, MetricsRegistry};
use anofpdm_common::telemetry::training::TrainMetrics;
use prometheus::{GaugeVec, HistogramVec};

use super::drain::Drain;
use super::gpu_metrics::GpuMetrics;
use super::liveness::Liveness;

/// All metrics of this process. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    registry: MetricsRegistry,
    pub(super) train: TrainMetrics,
    pub(super) batches: BatchMetrics,
    pub(super) gpu: GpuMetrics,
    device_info: GaugeVec,
    state: GaugeVec,
    draining: GaugeVec,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    Idle,
    Scoring,
    Training,
    /// After a fault of its own.
    Paused,
}

impl WorkerState {
    const ALL: [Self; 4] = [Self::Idle, Self::Scoring, Self::Training, Self::Paused];

    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Scoring => "scoring",
            Self::Training => "training",
            Self::Paused => "paused",
        }
    }

    pub(super) const fn of(task: &Task) -> Self {
        match task {
            Task::Train(_) => Self::Training,
            Task::Batches(_) | Task::Trial => Self::Scoring,
        }
    }
}

/// Times of batches.
#[derive(Debug, Clone)]
pub(super) struct BatchMetrics(HistogramVec);

/// Where a batch spends its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchPart {
    /// The device waits for its slices.
    Wait,
    /// On the device, until the records of the one before are stored.
    Device,
    /// Its records are made and stored.
    Records,
}

impl BatchMetrics {
    pub(super) fn took(&self, part: BatchPart, time: Duration) {
        let part = match part {
            BatchPart::Wait => "wait",
            BatchPart::Device => "device",
            BatchPart::Records => "records",
        };
        self.0
            .with_label_values(&[part])
            .observe(time.as_secs_f64());
    }
}

impl WorkerMetrics {
    /// Nothing is counted yet.
    ///
    /// # Errors
    /// [`MetricsError::Registration`], which would be a bug.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = MetricsRegistry::new(&[])?;
        queue_calls::count(&registry)?;
        let metrics = Self {
            train: TrainMetrics::register(&registry)?,
            batches: BatchMetrics(registry.histogram(&inventory::BATCH_SECONDS)?),
            gpu: GpuMetrics::register(&registry)?,
            device_info: registry.gauge(&inventory::DEVICE_INFO)?,
            state: registry.gauge(&inventory::WORKER_STATE)?,
            draining: registry.gauge(&inventory::WORKER_DRAINING)?,
            registry,
        };
        metrics.set_state(WorkerState::Idle);
        Ok(metrics)
    }

    /// What this worker runs on: its name, the device as it was asked for, its class, the GPU's UUID or nothing. From
    /// then on what its driver tells is served.
    pub(super) fn identify(
        &self,
        worker: &str,
        device: &str,
        class: &str,
        uuid: &str,
        libtorch: &str,
    ) {
        let version = env!("CARGO_PKG_VERSION");
        self.device_info
            .with_label_values(&[worker, device, class, uuid, libtorch, version])
            .set(1.0);
        if !uuid.is_empty() {
            self.gpu.watch(uuid);
        }
    }

    pub(super) fn set_state(&self, state: WorkerState) {
        for each in WorkerState::ALL {
            let value = f64::from(u8::from(each == state));
            self.state.with_label_values(&[each.name()]).set(value);
        }
    }
}

/// What the endpoint of a worker serves.
#[derive(Debug)]
pub(super) struct WorkerPages {
    pub(super) metrics: WorkerMetrics,
    pub(super) drain: Arc<Drain>,
    pub(super) liveness: Liveness,
}

impl Pages for WorkerPages {
    fn metrics(&self) -> Result<String, MetricsError> {
        let draining = f64::from(u8::from(self.drain.asked()));
        self.metrics
            .draining
            .with_label_values(&[] as &[&str])
            .set(draining);
        self.metrics.train.grow_older();
        self.metrics.gpu.refresh();
        self.metrics.registry.exposition()
    }

    fn ready(&self) -> Result<(), String> {
        match self.drain.asked() {
            true => Err("asked to end: nothing new is begun".to_owned()),
            false => Ok(()),
        }
    }

    fn live(&self) -> Result<(), String> {
        match self.liveness.hangs() {
            None => Ok(()),
            Some(silent) => Err(format!(
                "the job at work has not moved for {} s",
                silent.as_secs()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_says_what_it_does_and_whether_it_is_to_end() {
        let drain = Arc::new(Drain::new(Duration::ZERO));
        let pages = WorkerPages {
            metrics: WorkerMetrics::new().unwrap(),
            drain: Arc::clone(&drain),
            liveness: Liveness::new(Duration::from_secs(600)),
        };
        pages.metrics.set_state(WorkerState::Training);
        pages
            .metrics
            .identify("w", "cuda:0", "A100", "GPU-1", "2.11");
        pages
            .metrics
            .batches
            .took(BatchPart::Records, Duration::from_millis(20));
        let text = pages.metrics().unwrap();
        for line in [
            "anofpdm_worker_state{state=\"training\"} 1",
            "anofpdm_worker_state{state=\"idle\"} 0",
            "anofpdm_worker_draining 0",
            "anofpdm_batch_seconds_count{part=\"records\"} 1",
            "anofpdm_batch_seconds_count{part=\"device\"} 0",
            "anofpdm_queue_errors_total{kind=\"away\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("gpu_uuid=\"GPU-1\""), "{text}");
        assert!(pages.ready().is_ok() && pages.live().is_ok());
        drain.ask();
        assert!(
            pages
                .metrics()
                .unwrap()
                .contains("anofpdm_worker_draining 1")
        );
        assert!(pages.ready().is_err() && pages.live().is_ok());
    }
}
