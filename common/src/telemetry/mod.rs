//! What the programs say of themselves while they run: logs, and with the feature `metrics` numbers for Prometheus.
//!
//! | module | concept |
//! |---|---|
//! | [`logs`] | tracing set-up |
//! | `metrics` | the registry, and what it prints |
//! | `training` | the metrics of training |
//! | `endpoint` | `/metrics` and `/healthz` over HTTP |

#[cfg(feature = "metrics")]
pub mod endpoint;
pub mod logs;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "metrics")]
pub mod training;

pub use logs::{TelemetryError, init, init_to};
