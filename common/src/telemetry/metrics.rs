//! The metrics of a process: one registry, the groups in it, and the text that Prometheus reads.
//!
//! Every name begins with `anofpdm_`, units are base units (seconds, bytes), counters end in `_total`, every metric has a
//! help text. Labels come from closed sets, so that a process never has more than a few dozen series.

use prometheus::{Registry, TextEncoder};

use super::training::TrainMetrics;

/// What every name begins with.
const NAMESPACE: &str = "anofpdm";

/// Metrics that cannot be registered or printed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Two metrics of one name, or a name that is none.
    #[error("metrics cannot be registered: {0}. This is a bug.")]
    Registration(prometheus::Error),
    /// A value has no text form.
    #[error("metrics cannot be printed: {0}")]
    Exposition(prometheus::Error),
}

/// All metrics of this process. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// Training.
    pub train: TrainMetrics,
}

impl Metrics {
    /// Metrics that nothing has been counted in.
    ///
    /// # Errors
    /// [`MetricsError::Registration`], which would be a bug.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new_custom(Some(NAMESPACE.to_owned()), None)
            .map_err(MetricsError::Registration)?;
        let train = TrainMetrics::register(&registry).map_err(MetricsError::Registration)?;
        Ok(Self { registry, train })
    }

    /// The text exposition format, version 0.0.4: as of now.
    ///
    /// # Errors
    /// [`MetricsError::Exposition`].
    pub fn exposition(&self) -> Result<String, MetricsError> {
        self.train.grow_older();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(MetricsError::Exposition)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::time::{Duration, Instant};

    use super::*;
    use crate::role::Role;
    use crate::telemetry::training::TrainStep;

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
