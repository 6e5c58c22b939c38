//! Convolutions with weights in the engine's format.

use tch::Tensor;

use super::layout::Format;
use crate::nn::init::Affine;

/// A convolution.
#[derive(Debug)]
pub(super) struct Conv {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// Same-size convolution of an odd kernel.
    pub(super) fn new(affine: &Affine, format: Format) -> Self {
        let kernel = affine.weight.size()[3];
        Self::with(&affine.weight, Some(&affine.bias), format, 1, kernel / 2)
    }

    pub(super) fn with(
        weight: &Tensor,
        bias: Option<&Tensor>,
        format: Format,
        stride: i64,
        padding: i64,
    ) -> Self {
        Self {
            weight: format.order(&weight.to_kind(format.kind)),
            bias: bias.map(|bias| bias.to_kind(format.kind)),
            stride,
            padding,
        }
    }

    /// `[N, in, H, W]` to `[N, out, H / stride, W / stride]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(
            &self.weight,
            self.bias.as_ref(),
            self.stride,
            self.padding,
            1,
            1,
        )
    }
}
