//! The metrics of a process: one registry, the groups in it, and the text that Prometheus reads.
//!
//! Every name begins with `anofpdm_`, units are base units (seconds, bytes), counters end in `_total`, every metric has a
//! help text. Labels come from closed sets, so that a process never has more than a few dozen series.

use prometheus::{Registry, TextEncoder};

use super::training::TrainMetrics;

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("metrics cannot be registered: {0}. This is a bug.")]
    Registration(prometheus::Error),
    #[error("metrics cannot be printed: {0}")]
    Exposition(prometheus::Error),
}

/// All metrics of this process. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    pub train: TrainMetrics,
}

impl Metrics {
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let train = TrainMetrics::register(&registry).map_err(MetricsError::Registration)?;
        Ok(Self { registry, train })
    }

    /// The text exposition format, version 0.0.4: as of now.
    pub fn exposition(&self) -> Result<String, MetricsError> {
        self.train.grow_older();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(MetricsError::Exposition)
    }
}
