//! Calls to a Redis server, counted ([`inventory::queue`](super::inventory::queue)).

use super::inventory::queue::{QUEUE_CALL_SECONDS, QUEUE_ERRORS_TOTAL};
use super::registry::{MetricsError, MetricsRegistry};

/// Counts the calls of this process from now on. The local queue makes none.
///
/// # Errors
/// [`MetricsError::Registration`], which would be a bug.
pub fn count(registry: &MetricsRegistry) -> Result<(), MetricsError> {
    let seconds = registry.histogram(&QUEUE_CALL_SECONDS)?;
    let errors = registry.counter(&QUEUE_ERRORS_TOTAL)?;
    #[cfg(feature = "redis")]
    crate::queue::redis::observe_calls(move |call, took, failure| {
        use crate::queue::redis::CallFailure;
        seconds
            .with_label_values(&[call])
            .observe(took.as_secs_f64());
        let kind = match failure {
            None => return,
            Some(CallFailure::Away) => "away",
            Some(CallFailure::NoScript) => "no_script",
            Some(CallFailure::Other) => "other",
        };
        errors.with_label_values(&[kind]).inc();
    });
    #[cfg(not(feature = "redis"))]
    drop((seconds, errors));
    Ok(())
}
