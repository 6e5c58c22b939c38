//! What can be wrong with a plan.

/// A plan and its parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the plan has no {what} {index}: job and plan do not belong together")]
    OutOfRange { what: &'static str, index: usize },
    #[error("impossible plan: {0}")]
    Impossible(String),
    #[error("not a plan of this version: {0}")]
    Json(String),
}

pub(super) fn out_of_range(what: &'static str, index: usize) -> PlanError {
    PlanError::OutOfRange { what, index }
}
