//! Why a method cannot run on a batch, or has stopped.

#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    #[error("stopped after step {0}")]
    Stopped(usize),
}

/// A number that is NaN or infinite, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} of slice {slice} of the batch is not finite at step {step} (guidance {guidance})")]
pub struct NotFinite {
    /// `M`, `MSE^h` or the name of a map.
    pub what: String,
    pub slice: i64,
    /// Index of the step; for a map its end step.
    pub step: i64,
    pub guidance: f64,
}
