//! The metrics of training. The one label is `network`, of which there are as many values as roles.
//!
//! | metric | kind | is |
//! |---|---|---|
//! | `anofpdm_train_step_seconds` | histogram | one optimiser step, as this rank sees it |
//! | `anofpdm_train_samples_total` | counter | samples this rank has computed gradients of |
//! | `anofpdm_train_loss` | gauge | mean over the global batches of the last 100 steps |
//! | `anofpdm_train_allreduce_seconds` | histogram | of a step, what this rank waited for sums over the ranks |
//! | `anofpdm_train_world_size` | gauge | ranks that train together |
//! | `anofpdm_train_generation` | gauge | the attempt: milliseconds of the clock when it was formed |
//! | `anofpdm_checkpoint_age_seconds` | gauge | how much work a loss would cost: time since the newest checkpoint, or since this process began |
//!
//! Gauges are there while a training is under way and go with it; counters and histograms stay.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry, exponential_buckets,
    register_gauge_vec_with_registry, register_histogram_vec_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
};

use crate::role::Role;

const LABELS: [&str; 1] = ["network"];

/// Steps: 10 ms of a small network to 5 minutes of a large one on a CPU.
const STEP_BUCKETS: (f64, f64, usize) = (0.01, 2.0, 16);
/// Waits: what a fast network needs to what ends in a timeout.
const WAIT_BUCKETS: (f64, f64, usize) = (0.000_1, 4.0, 11);

/// The metrics of training. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct TrainMetrics {
    step: HistogramVec,
    samples: IntCounterVec,
    loss: GaugeVec,
    allreduce: HistogramVec,
    world: IntGaugeVec,
    generation: IntGaugeVec,
    checkpoint_age: GaugeVec,
    /// The training under way, and since when nothing of it was written down.
    unsaved: Arc<Mutex<Option<(Role, Instant)>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainStep {
    pub took: Duration,
    /// Of it, waiting for sums over the ranks.
    pub allreduce: Duration,
    /// Samples of this rank.
    pub samples: u64,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// When what was learnt was last written down, or when this process began.
    pub saved: Instant,
}

impl TrainMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = |(start, factor, count)| exponential_buckets(start, factor, count);
        Ok(Self {
            step: register_histogram_vec_with_registry!(
                "anofpdm_train_step_seconds",
                "Duration of one optimiser step, waiting for samples and other ranks included.",
                &LABELS,
                buckets(STEP_BUCKETS)?,
                registry
            )?,
            samples: register_int_counter_vec_with_registry!(
                "anofpdm_train_samples_total",
                "Samples of which this rank has computed gradients.",
                &LABELS,
                registry
            )?,
            loss: register_gauge_vec_with_registry!(
                "anofpdm_train_loss",
                "Mean loss over the global batches of the last 100 steps.",
                &LABELS,
                registry
            )?,
            allreduce: register_histogram_vec_with_registry!(
                "anofpdm_train_allreduce_seconds",
                "Part of a step in which this rank waited for sums over the ranks.",
                &LABELS,
                buckets(WAIT_BUCKETS)?,
                registry
            )?,
            world: register_int_gauge_vec_with_registry!(
                "anofpdm_train_world_size",
                "Ranks that train together.",
                &LABELS,
                registry
            )?,
            generation: register_int_gauge_vec_with_registry!(
                "anofpdm_train_generation",
                "Number of the attempt, from the clock: it grows each time the ranks start again.",
                &LABELS,
                registry
            )?,
            checkpoint_age: register_gauge_vec_with_registry!(
                "anofpdm_checkpoint_age_seconds",
                "Time since the newest checkpoint of the training under way, or since this process began with it.",
                &LABELS,
                registry
            )?,
            unsaved: Arc::default(),
        })
    }

    /// A training of `network` begins: attempt `generation` with `world` ranks. A process has one at a time.
    pub fn begin(&self, network: Role, generation: u64, world: u32) -> TrainUnderWay {
        let labels = [network.name()];
        self.world.with_label_values(&labels).set(i64::from(world));
        self.generation
            .with_label_values(&labels)
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        // Made now, so that zeros are seen.
        self.step.with_label_values(&labels);
        self.allreduce.with_label_values(&labels);
        self.samples.with_label_values(&labels);
        *self.unsaved() = Some((network, Instant::now()));
        TrainUnderWay {
            metrics: self.clone(),
            network,
        }
    }

    /// Ages go on by themselves.
    pub(super) fn grow_older(&self) {
        if let Some((network, saved)) = *self.unsaved() {
            self.checkpoint_age
                .with_label_values(&[network.name()])
                .set(saved.elapsed().as_secs_f64());
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, Option<(Role, Instant)>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A training that is being measured; its gauges go when this is dropped.
#[derive(Debug)]
pub struct TrainUnderWay {
    metrics: TrainMetrics,
    network: Role,
}

impl TrainUnderWay {
    pub fn step(&self, step: &TrainStep) {
        let labels = [self.network.name()];
        let TrainMetrics {
            step: duration,
            samples,
            loss,
            allreduce,
            ..
        } = &self.metrics;
        duration
            .with_label_values(&labels)
            .observe(step.took.as_secs_f64());
        samples.with_label_values(&labels).inc_by(step.samples);
        loss.with_label_values(&labels).set(step.loss);
        allreduce
            .with_label_values(&labels)
            .observe(step.allreduce.as_secs_f64());
        *self.metrics.unsaved() = Some((self.network, step.saved));
    }
}

impl Drop for TrainUnderWay {
    fn drop(&mut self) {
        let TrainMetrics {
            loss,
            world,
            generation,
            checkpoint_age,
            ..
        } = &self.metrics;
        // Held while the gauges go, so that none comes back.
        let mut unsaved = self.metrics.unsaved();
        *unsaved = None;
        let labels = [self.network.name()];
        for gone in [
            loss.remove_label_values(&labels),
            world.remove_label_values(&labels),
            generation.remove_label_values(&labels),
            checkpoint_age.remove_label_values(&labels),
        ] {
            if let Err(error) = gone {
                // One that ended before its first step has no loss, and nobody may have asked for its age.
                tracing::trace!(%error, "a gauge of a training was not there");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::metrics::Metrics;
    use super::*;

    fn step(samples: u64) -> TrainStep {
        TrainStep {
            took: Duration::from_millis(300),
            allreduce: Duration::from_millis(20),
            samples,
            loss: 0.25,
            saved: Instant::now(),
        }
    }

    #[test]
    fn steps_are_counted_and_gauges_go_with_the_training() {
        let metrics = Metrics::new().unwrap();
        let under_way = metrics.train.begin(Role::Guided, 7, 2);
        let zero = metrics.exposition().unwrap();
        assert!(
            zero.contains("anofpdm_train_samples_total{network=\"guided\"} 0"),
            "{zero}"
        );
        under_way.step(&step(3));
        under_way.step(&step(3));
        let text = metrics.exposition().unwrap();
        for line in [
            "anofpdm_train_samples_total{network=\"guided\"} 6",
            "anofpdm_train_step_seconds_count{network=\"guided\"} 2",
            "anofpdm_train_step_seconds_bucket{network=\"guided\",le=\"0.16\"} 0",
            "anofpdm_train_step_seconds_bucket{network=\"guided\",le=\"0.32\"} 2",
            "anofpdm_train_loss{network=\"guided\"} 0.25",
            "anofpdm_train_allreduce_seconds_sum{network=\"guided\"} 0.04",
            "anofpdm_train_world_size{network=\"guided\"} 2",
            "anofpdm_train_generation{network=\"guided\"} 7",
            "anofpdm_checkpoint_age_seconds{network=\"guided\"} ",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(under_way);
        let after = metrics.exposition().unwrap();
        assert!(after.contains("anofpdm_train_samples_total{network=\"guided\"} 6"));
        for gone in ["train_loss", "world_size", "generation", "age"] {
            assert!(!after.contains(gone), "{gone}\n{after}");
        }
    }

    #[test]
    fn the_age_of_a_checkpoint_grows_by_itself() {
        let metrics = Metrics::new().unwrap();
        let under_way = metrics.train.begin(Role::Classifier, 1, 1);
        let age = || {
            let text = metrics.exposition().unwrap();
            let line = text
                .lines()
                .find(|line| line.starts_with("anofpdm_checkpoint_age_seconds{"))
                .unwrap();
            line.split(' ').next_back().unwrap().parse::<f64>().unwrap()
        };
        let first = age();
        std::thread::sleep(Duration::from_millis(20));
        assert!(age() >= first + 0.02);
        under_way.step(&step(1));
        assert!(age() < first + 0.02);
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let metrics = Metrics::new().unwrap();
        let under_way = metrics.train.begin(Role::Guided, 1, 1);
        under_way.step(&step(1));
        let text = metrics.exposition().unwrap();
        let words = |prefix: &str| -> Vec<Vec<String>> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
            lines
                .map(|line| line.splitn(2, ' ').map(str::to_owned).collect())
                .collect()
        };
        let (helps, types) = (words("# HELP "), words("# TYPE "));
        let names = |lines: &[Vec<String>]| -> BTreeSet<String> {
            lines.iter().map(|words| words[0].clone()).collect()
        };
        assert_eq!(names(&helps), names(&types));
        assert_eq!(types.len(), 7);
        assert!(helps.iter().all(|words| words[1].ends_with('.')));
        for words in &types {
            assert!(words[0].starts_with("anofpdm_"));
            assert_eq!(words[0].ends_with("_total"), words[1] == "counter");
        }
    }
}
