//! What a worker counts while it trains ([`inventory`]). The one label is `network`, of which there are as many
//! values as roles.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{CounterVec, GaugeVec, HistogramVec};

use super::inventory::training as inventory;
use super::registry::{MetricsError, MetricsRegistry};
use crate::role::Role;

/// The metrics of training. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct TrainMetrics {
    step: HistogramVec,
    samples: CounterVec,
    loss: GaugeVec,
    allreduce: HistogramVec,
    world: GaugeVec,
    generation: GaugeVec,
    checkpoint_age: GaugeVec,
    /// The training under way, and since when nothing of it was written down.
    unsaved: Arc<Mutex<Option<(Role, Instant)>>>,
}

/// One step of a training, as its rank saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainStep {
    /// The whole step.
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
    /// Nothing is trained yet.
    ///
    /// # Errors
    /// [`MetricsError::Registration`], which would be a bug.
    pub fn register(registry: &MetricsRegistry) -> Result<Self, MetricsError> {
        Ok(Self {
            step: registry.histogram(&inventory::TRAIN_STEP_SECONDS)?,
            samples: registry.counter(&inventory::TRAIN_SAMPLES_TOTAL)?,
            loss: registry.gauge(&inventory::TRAIN_LOSS)?,
            allreduce: registry.histogram(&inventory::TRAIN_ALLREDUCE_SECONDS)?,
            world: registry.gauge(&inventory::TRAIN_WORLD_SIZE)?,
            generation: registry.gauge(&inventory::TRAIN_GENERATION)?,
            checkpoint_age: registry.gauge(&inventory::CHECKPOINT_AGE_SECONDS)?,
            unsaved: Arc::default(),
        })
    }

    /// A training of `network` begins: attempt `generation` with `world` ranks. A process has one at a time.
    pub fn begin(&self, network: Role, generation: u64, world: u32) -> TrainUnderWay {
        let labels = [network.name()];
        self.world.with_label_values(&labels).set(f64::from(world));
        // Milliseconds: exact for longer than this century.
        #[allow(clippy::cast_precision_loss)]
        self.generation
            .with_label_values(&labels)
            .set(generation as f64);
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

    /// Ages go on by themselves: to be called before the metrics are read.
    pub fn grow_older(&self) {
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
    /// Counts a step.
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
        #[allow(clippy::cast_precision_loss)]
        samples
            .with_label_values(&labels)
            .inc_by(step.samples as f64);
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
    use super::*;

    struct Metrics {
        registry: MetricsRegistry,
        train: TrainMetrics,
    }

    impl Metrics {
        fn new() -> Self {
            let registry = MetricsRegistry::new(&[]).unwrap();
            let train = TrainMetrics::register(&registry).unwrap();
            Self { registry, train }
        }

        fn exposition(&self) -> String {
            self.train.grow_older();
            self.registry.exposition().unwrap()
        }
    }

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
        let metrics = Metrics::new();
        let under_way = metrics.train.begin(Role::Guided, 7, 2);
        let zero = metrics.exposition();
        assert!(
            zero.contains("anofpdm_train_samples_total{network=\"guided\"} 0"),
            "{zero}"
        );
        under_way.step(&step(3));
        under_way.step(&step(3));
        let text = metrics.exposition();
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
        let after = metrics.exposition();
        assert!(after.contains("anofpdm_train_samples_total{network=\"guided\"} 6"));
        for gone in ["train_loss", "world_size", "generation", "age"] {
            assert!(!after.contains(gone), "{gone}\n{after}");
        }
    }

    #[test]
    fn the_age_of_a_checkpoint_grows_by_itself() {
        let metrics = Metrics::new();
        let under_way = metrics.train.begin(Role::Classifier, 1, 1);
        let age = || {
            let text = metrics.exposition();
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
}
