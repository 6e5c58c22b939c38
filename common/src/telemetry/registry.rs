//! One registry a process, filled from the [`inventory`](super::inventory), and the text that Prometheus reads.

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, TextEncoder};
use prometheus::{Registry, exponential_buckets};

use super::inventory::{Kind, MetricSpec, Series};

/// Metrics that cannot be registered or printed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Two metrics of one name, or a kind other than the inventory's.
    #[error("metrics cannot be registered: {0}. This is a bug.")]
    Registration(prometheus::Error),
    /// A value has no text form.
    #[error("metrics cannot be printed: {0}")]
    Exposition(prometheus::Error),
}

/// The metrics of a process. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct MetricsRegistry(Registry);

impl MetricsRegistry {
    /// Nothing is registered yet; `labels` stand in every series.
    ///
    /// # Errors
    /// [`MetricsError::Registration`] for labels that are none.
    pub fn new(labels: &[(&str, &str)]) -> Result<Self, MetricsError> {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels = Some(labels.collect())
            .filter(|labels: &std::collections::HashMap<_, _>| !labels.is_empty());
        Registry::new_custom(None, labels)
            .map(Self)
            .map_err(MetricsError::Registration)
    }

    /// A counter of the inventory.
    ///
    /// # Errors
    /// [`MetricsError::Registration`], which would be a bug; so for those that follow.
    pub fn counter(&self, spec: &MetricSpec) -> Result<CounterVec, MetricsError> {
        debug_assert_eq!(spec.kind, Kind::Counter, "{}", spec.name);
        let made = CounterVec::new(Opts::new(spec.name, spec.help), &spec.label_names());
        let metric = self.registered(made)?;
        for labels in from_start(spec) {
            metric.with_label_values(&labels);
        }
        Ok(metric)
    }

    /// A gauge of the inventory.
    ///
    /// # Errors
    /// As [`counter`](Self::counter).
    pub fn gauge(&self, spec: &MetricSpec) -> Result<GaugeVec, MetricsError> {
        debug_assert_eq!(spec.kind, Kind::Gauge, "{}", spec.name);
        self.registered(GaugeVec::new(
            Opts::new(spec.name, spec.help),
            &spec.label_names(),
        ))
    }

    /// A histogram of the inventory.
    ///
    /// # Errors
    /// As [`counter`](Self::counter).
    pub fn histogram(&self, spec: &MetricSpec) -> Result<HistogramVec, MetricsError> {
        let Kind::Histogram(buckets) = spec.kind else {
            return Err(MetricsError::Registration(prometheus::Error::Msg(format!(
                "{} is no histogram",
                spec.name
            ))));
        };
        let bounds = exponential_buckets(buckets.first, buckets.factor, buckets.count)
            .map_err(MetricsError::Registration)?;
        let opts = HistogramOpts::new(spec.name, spec.help).buckets(bounds);
        let metric = self.registered(HistogramVec::new(opts, &spec.label_names()))?;
        for labels in from_start(spec) {
            metric.with_label_values(&labels);
        }
        Ok(metric)
    }

    fn registered<M: Collector + Clone + 'static>(
        &self,
        made: Result<M, prometheus::Error>,
    ) -> Result<M, MetricsError> {
        let metric = made.map_err(MetricsError::Registration)?;
        self.0
            .register(Box::new(metric.clone()))
            .map_err(MetricsError::Registration)?;
        Ok(metric)
    }

    /// The text exposition format, version 0.0.4: as of now.
    ///
    /// # Errors
    /// [`MetricsError::Exposition`].
    pub fn exposition(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.0.gather())
            .map_err(MetricsError::Exposition)
    }
}

fn from_start(spec: &MetricSpec) -> Vec<Vec<&'static str>> {
    match spec.series {
        Series::AtStart => spec.combinations().unwrap_or_default(),
        Series::WhenKnown => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::{queue, run};
    use super::*;

    #[test]
    fn what_is_from_the_start_is_there_at_zero_with_the_labels_of_the_process() {
        let registry = MetricsRegistry::new(&[("run", "r-1")]).unwrap();
        registry.counter(&queue::QUEUE_ERRORS_TOTAL).unwrap();
        registry.histogram(&run::SHARD_WAIT_SECONDS).unwrap();
        registry.gauge(&run::PAUSED).unwrap();
        let text = registry.exposition().unwrap();
        for line in [
            "anofpdm_queue_errors_total{kind=\"away\",run=\"r-1\"} 0",
            "anofpdm_queue_errors_total{kind=\"no_script\",run=\"r-1\"} 0",
            "anofpdm_shard_wait_seconds_count{priority=\"urgent\",run=\"r-1\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("paused"));
        let twice = registry.gauge(&run::PAUSED).unwrap_err().to_string();
        assert!(twice.contains("bug"), "{twice}");
    }
}
