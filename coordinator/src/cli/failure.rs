//! Exit codes: what kind of failure an error is.

use std::process::ExitCode;

use anofpdm_common::spec::SpecError;

use crate::compare::CompareError;
use crate::run::RunError;
use crate::run::operators::control_files::Cancelled;
use crate::run::signals::{INTERRUPTED, Interrupted};
use crate::run_folder::RunFolderError;
use crate::spec_file::SpecFileError;

pub const SUCCESS: u8 = 0;
pub const FAILURE: u8 = 1;
/// The command line or the spec is wrong.
pub const USAGE: u8 = 2;
/// The command line asks for something that does not exist or does not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// True when an error is no failure: the user ended it, here or from elsewhere.
fn is_wanted(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Interrupted>() || cause.is::<Cancelled>()
}

/// What stands before an error: a run that was stopped did not go wrong.
pub fn label(error: &anyhow::Error) -> &'static str {
    if error.chain().any(is_wanted) {
        "stopped"
    } else {
        "error"
    }
}

/// The exit code for an error, by the first cause in its chain that decides it.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = error
        .chain()
        .find_map(|cause| {
            if is_wanted(cause) {
                Some(INTERRUPTED)
            } else if cause.is::<UsageError>()
                || cause.is::<SpecError>()
                || matches!(cause.downcast_ref(), Some(SpecFileError::Read { .. }))
                || matches!(cause.downcast_ref::<CompareError>(), Some(error) if error.is_misfit())
                || matches!(cause.downcast_ref(), Some(RunError::Precision(_)))
                || matches!(
                    cause.downcast_ref(),
                    Some(
                        RunFolderError::OtherSpec { .. }
                            | RunFolderError::Spec { .. }
                            | RunFolderError::NoRun { .. }
                    )
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
