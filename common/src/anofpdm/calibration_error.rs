//! Why validation slices decide nothing.

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    #[error(
        "{healthy} healthy and {unhealthy} unhealthy validation slices: calibration needs both kinds \
         (more validation slices, or another split)"
    )]
    OneKind { healthy: usize, unhealthy: usize },
    #[error("validation slice {slice}: {what} is not a finite number")]
    NotFinite { slice: usize, what: &'static str },
    #[error("validation slice {slice}: {what} has {found} values, {expected} were expected")]
    Length {
        slice: usize,
        what: &'static str,
        found: usize,
        expected: usize,
    },
}
