//! GroupNorm: 32 groups, eps 1e-5, statistics in float32 at least, whatever the precision.

use anofpdm_common::network::NORM_GROUPS;
use tch::nn::Path;
use tch::{Kind, Tensor};

/// Added to the variance.
pub(crate) const EPS: f64 = 1e-5;

/// What sums over values of `kind` are formed in: float32, or float64 for float64.
pub(crate) const fn statistics_kind(kind: Kind) -> Kind {
    match kind {
        Kind::Double => Kind::Double,
        _ => Kind::Float,
    }
}

/// GroupNorm with a learned scale and shift per channel.
#[derive(Debug)]
pub struct GroupNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl GroupNorm {
    /// `channels` must be a multiple of 32.
    pub fn new(vs: &Path<'_>, channels: i64) -> Self {
        Self {
            weight: vs.ones("weight", &[channels]),
            bias: vs.zeros("bias", &[channels]),
        }
    }

    /// Another handle of the same weights.
    pub(super) fn shared(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
        }
    }

    pub(super) fn parameters(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    /// `[N, C, ...]` to the same shape and kind; computed in float32 at least.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let kind = statistics_kind(x.kind());
        let weight = self.weight.to_kind(kind);
        let bias = self.bias.to_kind(kind);
        x.to_kind(kind)
            .group_norm(NORM_GROUPS, Some(&weight), Some(&bias), EPS, true)
            .to_kind(x.kind())
    }
}
