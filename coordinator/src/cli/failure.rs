//! Exit codes: what kind of failure an error is.

use std::process::ExitCode;

use anofpdm_common::spec::SpecError;

use crate::bench_file::BenchError;
use crate::drive::DriveError;
use crate::drive::control::Cancelled;
use crate::drive::signals::{INTERRUPTED, Interrupted};
use crate::run_folder::RunFolderError;

/// Success.
pub const SUCCESS: u8 = 0;
/// The work failed.
pub const FAILURE: u8 = 1;
/// The command line or the spec is wrong.
pub const USAGE: u8 = 2;
/// The command line asks for something that does not exist or does not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code for an error, by the first cause in its chain that decides it.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = error
        .chain()
        .find_map(|cause| {
            if cause.is::<Interrupted>() || cause.is::<Cancelled>() {
                Some(INTERRUPTED)
            } else if cause.is::<UsageError>()
                || cause.is::<SpecError>()
                || matches!(cause.downcast_ref(), Some(BenchError::Read { .. }))
                || matches!(cause.downcast_ref(), Some(DriveError::Precision(_)))
                || matches!(
                    cause.downcast_ref(),
                    Some(RunFolderError::OtherSpec { .. } | RunFolderError::Spec { .. })
                )
            {
                Some(USAGE)
            } else {
                None
            }
        })
        .unwrap_or(FAILURE);
    ExitCode::from(code)
}
