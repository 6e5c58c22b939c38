//! Predicted x0, kept in range.

use anofpdm_common::baseline::Clip;
use tch::Tensor;

use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::predict_x0;

/// x0 that `epsilon` at `index` implies: clamped to [-1, 1], or dynamically: clamped to the 99 % quantile of its size in
/// the slice and channel, at least 1, and divided by it (Saharia et al., "Imagen", 2022, section 2.3, as Diff-SCM has it).
pub(super) fn clipped_x0(
    clip: Clip,
    schedule: &Schedule,
    index: usize,
    x: &Tensor,
    epsilon: &Tensor,
) -> Tensor {
    match clip {
        Clip::Fixed => predict_x0(schedule, index, x, epsilon, true),
        Clip::Dynamic => {
            let x0 = predict_x0(schedule, index, x, epsilon, false);
            let size = x0.abs().flatten(2, 3);
            let bound = size
                .quantile_scalar(0.99, 2_i64, true, "linear")
                .clamp_min(1.0)
                .unsqueeze(3);
            x0.minimum(&bound).maximum(&-&bound) / bound
        }
    }
}
