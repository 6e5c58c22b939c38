//! What the programs say of themselves while they run: logs, and with the feature `metrics` numbers for Prometheus.

#[cfg(feature = "metrics")]
pub mod endpoint;
#[cfg(feature = "metrics")]
pub mod inventory;
pub mod logs;
#[cfg(feature = "metrics")]
pub mod queue_calls;
#[cfg(feature = "metrics")]
pub mod registry;
mod repeats;
#[cfg(feature = "metrics")]
pub mod training;

pub use logs::{TelemetryError, in_context, init, init_to};
