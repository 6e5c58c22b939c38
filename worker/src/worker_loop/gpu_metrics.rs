//! What a worker tells Prometheus of its GPU, as far as the driver tells it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anofpdm_common::telemetry::inventory::worker as inventory;
use anofpdm_common::telemetry::registry::{MetricsError, MetricsRegistry};
use prometheus::{CounterVec, GaugeVec};

use crate::nvml::{GpuReading, GpuTelemetry};

/// Clones are the same metrics.
#[derive(Debug, Clone)]
pub(super) struct GpuMetrics {
    utilization: GaugeVec,
    memory: GaugeVec,
    power: GaugeVec,
    energy: CounterVec,
    throttled: GaugeVec,
    watched: Arc<OnceLock<Watched>>,
}

#[derive(Debug)]
struct Watched {
    gpu: GpuTelemetry,
    /// As far as the counter has come, in the driver's count of millijoules.
    counted: Mutex<Option<u64>>,
}

const NO_LABELS: &[&str] = &[];

impl GpuMetrics {
    pub(super) fn register(registry: &MetricsRegistry) -> Result<Self, MetricsError> {
        Ok(Self {
            utilization: registry.gauge(&inventory::GPU_UTILIZATION_RATIO)?,
            memory: registry.gauge(&inventory::GPU_MEMORY_BYTES)?,
            power: registry.gauge(&inventory::GPU_POWER_WATTS)?,
            energy: registry.counter(&inventory::GPU_ENERGY_JOULES_TOTAL)?,
            throttled: registry.gauge(&inventory::GPU_THROTTLED)?,
            watched: Arc::new(OnceLock::new()),
        })
    }

    /// Serves what the driver tells of this GPU from now on.
    pub(super) fn watch(&self, uuid: &str) {
        if let Some(gpu) = GpuTelemetry::open(uuid) {
            let counted = Mutex::new(gpu.energy());
            // A worker has one GPU: the first is the one.
            self.watched.get_or_init(|| Watched { gpu, counted });
        }
    }

    /// What the GPU has drawn since its driver was loaded, millijoules.
    pub(super) fn energy(&self) -> Option<u64> {
        self.watched.get()?.gpu.energy()
    }

    /// Asks the driver anew.
    pub(super) fn refresh(&self) {
        if let Some(watched) = self.watched.get() {
            let reading = watched.gpu.read();
            let mut counted = watched
                .counted
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let drawn = reading
                .energy
                .zip(*counted)
                .map(|(now, before)| now.saturating_sub(before));
            *counted = reading.energy.or(*counted);
            self.show(&reading, drawn);
        }
    }

    /// `drawn` are the millijoules since this was called before.
    #[allow(clippy::cast_precision_loss)]
    fn show(&self, reading: &GpuReading, drawn: Option<u64>) {
        set(&self.utilization, NO_LABELS, reading.utilization);
        set(&self.power, NO_LABELS, reading.power);
        set(
            &self.memory,
            &["used"],
            reading.memory.map(|(used, _)| used as f64),
        );
        set(
            &self.memory,
            &["total"],
            reading.memory.map(|(_, total)| total as f64),
        );
        for (reason, holds) in [
            ("power", reading.throttled.map(|by| by.power)),
            ("thermal", reading.throttled.map(|by| by.thermal)),
            ("hardware", reading.throttled.map(|by| by.hardware)),
        ] {
            set(
                &self.throttled,
                &[reason],
                holds.map(|holds| f64::from(u8::from(holds))),
            );
        }
        if let Some(millijoules) = drawn {
            self.energy
                .with_label_values(NO_LABELS)
                .inc_by(millijoules as f64 / 1e3);
        }
    }
}

/// A value that is not told any more is no value: what it was last would pass for what it is.
fn set(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        // An error means that there is none.
        None => drop(gauge.remove_label_values(labels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvml::Throttled;

    #[test]
    fn what_the_driver_does_not_tell_is_not_there() {
        let registry = MetricsRegistry::new(&[]).unwrap();
        let metrics = GpuMetrics::register(&registry).unwrap();
        assert_eq!(registry.exposition().unwrap(), "");
        metrics.refresh();
        assert_eq!(registry.exposition().unwrap(), "");

        let reading = GpuReading {
            utilization: Some(0.5),
            memory: Some((3, 4)),
            power: Some(390.5),
            energy: Some(7),
            throttled: Some(Throttled {
                thermal: true,
                ..Throttled::default()
            }),
        };
        metrics.show(&reading, Some(1_500));
        metrics.show(&reading, Some(1_000));
        let text = registry.exposition().unwrap();
        for line in [
            "anofpdm_gpu_utilization_ratio 0.5",
            "anofpdm_gpu_memory_bytes{kind=\"used\"} 3",
            "anofpdm_gpu_memory_bytes{kind=\"total\"} 4",
            "anofpdm_gpu_power_watts 390.5",
            "anofpdm_gpu_energy_joules_total 2.5",
            "anofpdm_gpu_throttled{reason=\"thermal\"} 1",
            "anofpdm_gpu_throttled{reason=\"power\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }

        metrics.show(&GpuReading::default(), None);
        let gone = registry.exposition().unwrap();
        assert!(!gone.contains("watts") && !gone.contains("ratio"), "{gone}");
        assert!(
            gone.contains("anofpdm_gpu_energy_joules_total 2.5"),
            "{gone}"
        );
    }
}
