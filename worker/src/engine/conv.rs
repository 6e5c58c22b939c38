//! Convolutions with weights in the engine's format.

use anofpdm_kernels::winograd::{Winograd, has_vectors};
use tch::Tensor;

use super::layout::Format;
use super::winograd;
use crate::nn::init::Affine;

/// A convolution, in one of two ways to compute it.
#[derive(Debug)]
pub(super) enum Conv {
    /// By libtorch.
    Direct {
        weight: Tensor,
        bias: Option<Tensor>,
        stride: i64,
        padding: i64,
    },
    /// Same-size 3x3, by Winograd's algorithm.
    Winograd(Winograd, Format),
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
        Self::Direct {
            weight: format.order(&weight.to_kind(format.kind)),
            bias: bias.map(|bias| bias.to_kind(format.kind)),
            stride,
            padding,
        }
    }

    /// A same-size 3x3 convolution, by Winograd's algorithm where `wanted` and where weights and machine fit. Maps must
    /// then have even sides.
    pub(super) fn same3(
        weight: &Tensor,
        bias: Option<&Tensor>,
        format: Format,
        wanted: bool,
    ) -> Self {
        let fits = wanted && format.channels_last && has_vectors();
        let weight = weight.to_kind(format.kind);
        let bias = bias.map(|bias| bias.to_kind(format.kind));
        match fits
            .then(|| winograd::transformed(&weight, bias.as_ref()))
            .flatten()
        {
            Some(winograd) => Self::Winograd(winograd, format),
            None => Self::with(&weight, bias.as_ref(), format, 1, 1),
        }
    }

    /// `[N, in, H, W]` to `[N, out, H / stride, W / stride]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Direct {
                weight,
                bias,
                stride,
                padding,
            } => x.conv2d(weight, bias.as_ref(), *stride, *padding, 1, 1),
            Self::Winograd(conv, format) => winograd::forward(conv, &format.order(x))
                .unwrap_or_else(|| panic!("a map of odd sides {:?}: a bug", x.size())),
        }
    }
}
