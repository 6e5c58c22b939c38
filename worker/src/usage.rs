//! Command lines and settings that cannot be used.

/// A command line that parses and yet cannot be run; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// With what is wrong, and what to do.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self(message.to_string())
    }
}
