//! Why validation slices decide nothing.

/// Why validation slices decide nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// All slices have the same label.
    #[error(
        "{healthy} healthy and {unhealthy} unhealthy validation slices: calibration needs both kinds \
         (more validation slices, or another split)"
    )]
    OneKind {
        /// Healthy slices.
        healthy: usize,
        /// Unhealthy slices.
        unhealthy: usize,
    },
    /// A value that cannot be compared.
    #[error("validation slice {slice}: {what} is not a finite number")]
    NotFinite {
        /// Index of the slice among the validation slices.
        slice: usize,
        /// Which value.
        what: &'static str,
    },
    /// Sequences of another length.
    #[error("validation slice {slice}: {what} has {found} values, {expected} were expected")]
    Length {
        /// Index of the slice among the validation slices.
        slice: usize,
        /// Which sequence.
        what: &'static str,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
}
