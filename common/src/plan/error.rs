//! What can be wrong with a plan.

/// A plan and its parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An index points outside its list.
    #[error("the plan has no {what} {index}: job and plan do not belong together")]
    OutOfRange {
        /// What was looked up.
        what: &'static str,
        index: usize,
    },
    /// A number or a list that no plan has.
    #[error("impossible plan: {0}")]
    Impossible(String),
    /// Not the JSON of a plan, or a key that cannot be written.
    #[error("not a plan of this version: {0}")]
    Json(String),
}

pub(super) fn out_of_range(what: &'static str, index: usize) -> PlanError {
    PlanError::OutOfRange { what, index }
}
