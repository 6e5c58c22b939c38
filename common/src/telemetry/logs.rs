//! Tracing set-up, the same for both programs.
//!
//! Logs go to stderr, results to stdout. `ANOFPDM_LOG` filters (`debug`, `anofpdm_worker=trace`);
//! `ANOFPDM_LOG_FORMAT=json` writes one JSON object a line. Every line names its context, as far as there is one: the
//! run, in a worker its name, and of the work at hand the shard and the epoch of its lease.

use std::io::IsTerminal;

use tracing::Span;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::repeats::WithoutRepeats;

/// Environment variable with the log filter; `info` where unset.
pub const LOG_FILTER: &str = "ANOFPDM_LOG";

/// Environment variable with the log format; `json`, or text for people where unset.
pub const LOG_FORMAT: &str = "ANOFPDM_LOG_FORMAT";

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{LOG_FILTER} does not parse: {0}")]
    Filter(String),
    #[error("{LOG_FORMAT} is '{0}': leave it unset, or write json")]
    Format(String),
    #[error("tracing is set up already: {0}. This is a bug.")]
    Twice(String),
}

/// Installs the subscriber, which writes to stderr; call once, first thing in `main`.
pub fn init() -> Result<(), TelemetryError> {
    init_to(std::io::stderr)
}

/// The same through `writer`, for a program that also draws on the terminal: what it writes ends up on stderr. Text on
/// a terminal goes without context: who looks at it knows the run.
pub fn init_to<W>(writer: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = match std::env::var(LOG_FILTER) {
        Ok(text) => EnvFilter::try_new(&text).map_err(|e| TelemetryError::Filter(e.to_string()))?,
        Err(_) => EnvFilter::new("info"),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match std::env::var(LOG_FORMAT).as_deref() {
        Ok("json") => layer
            .json()
            .with_current_span(false)
            .map_event_format(|inner| WithoutRepeats::new(inner, true))
            .with_filter(filter)
            .boxed(),
        Ok(other) if !other.is_empty() => return Err(TelemetryError::Format(other.to_owned())),
        _ => {
            let terminal = std::io::stderr().is_terminal();
            layer
                .with_ansi(terminal)
                .with_target(false)
                .compact()
                .map_event_format(|inner| WithoutRepeats::new(inner, false))
                .with_filter(filter)
                .with_filter(filter_fn(move |metadata| metadata.is_event() || !terminal))
                .boxed()
        }
    };
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|e| TelemetryError::Twice(e.to_string()))
}

/// `work` for another thread, with the context of this one in what it logs.
pub fn in_context<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let context = Span::current();
    move || context.in_scope(work)
}
