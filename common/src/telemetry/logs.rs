//! Tracing set-up, the same for both programs.
//!
//! Logs go to stderr, results to stdout. `ANOFPDM_LOG` filters (`debug`, `anofpdm_worker=trace`);
//! `ANOFPDM_LOG_FORMAT=json` writes one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

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

/// The same through `writer`, for a program that also draws on the terminal: what it writes ends up on stderr.
pub fn init_to<W>(writer: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = match std::env::var(LOG_FILTER) {
        Ok(text) => EnvFilter::try_new(&text).map_err(|e| TelemetryError::Filter(e.to_string()))?,
        Err(_) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    let installed = match std::env::var(LOG_FORMAT).as_deref() {
        Ok("json") => builder.json().try_init(),
        Ok(other) if !other.is_empty() => return Err(TelemetryError::Format(other.to_owned())),
        _ => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .compact()
            .try_init(),
    };
    installed.map_err(|e| TelemetryError::Twice(e.to_string()))
}
