//! The divisor of Eq. 20.

use anofpdm_common::semantics::Aggregation;
use tch::{Kind, Tensor};

/// How many steps Eq. 20 averages for end steps `end` (i64).
pub(super) fn averaged_steps(end: &Tensor, aggregation: Aggregation) -> Tensor {
    match aggregation {
        Aggregation::EndIncluded => end + 1,
        Aggregation::EndExcluded => end.shallow_clone(),
    }
}

/// `[N, m]` to f32 `[N, m, 1, 1]`.
pub(super) fn spread(counts: &Tensor) -> Tensor {
    counts.to_kind(Kind::Float).unsqueeze(-1).unsqueeze(-1)
}
