//! GroupNorm: 32 groups, eps 1e-5, statistics in float32 whatever the precision.

use anofpdm_common::network::NORM_GROUPS;
use tch::nn::Path;
use tch::{Kind, Tensor};

const EPS: f64 = 1e-5;

/// GroupNorm with a learned scale and shift per channel.
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    /// `channels` must be a multiple of 32.
    pub fn new(vs: &Path<'_>, channels: i64) -> Self {
        Self {
            weight: vs.ones("weight", &[channels]),
            bias: vs.zeros("bias", &[channels]),
        }
    }

    /// `[N, C, ...]` to the same shape and kind; computed in float32.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.to_kind(Kind::Float);
        let bias = self.bias.to_kind(Kind::Float);
        x.to_kind(Kind::Float)
            .group_norm(NORM_GROUPS, Some(&weight), Some(&bias), EPS, true)
            .to_kind(x.kind())
    }
}
