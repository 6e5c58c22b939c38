//! Convolutions with weights in the engine's format.

use anofpdm_kernels::winograd::{Winograd, has_vectors};
use tch::{Device, Kind, Tensor};

use super::comparison::{Compared, wave};
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

/// Winograd's algorithm beside libtorch's convolution in float64; nothing where engines on `device` do not use it.
pub(super) fn comparisons(device: Device) -> Vec<Compared> {
    let (format, exact) = (
        Format::new(Kind::Float, true),
        Format::new(Kind::Double, true),
    );
    let weight = wave(&[64, 96, 3, 3], 1.3, device) * 0.05;
    let bias = wave(&[64], 0.7, device);
    let conv = Conv::same3(&weight, Some(&bias), format, device == Device::Cpu);
    if matches!(conv, Conv::Direct { .. }) {
        return Vec::new();
    }
    let x = wave(&[2, 96, 24, 24], 1.7, device);
    let ours = conv.forward(&format.order(&x.to_kind(Kind::Float)));
    let theirs = Conv::with(&weight, Some(&bias), exact, 1, 1).forward(&exact.order(&x));
    let what = "3x3 convolution by Winograd's algorithm, Float".to_owned();
    vec![Compared::new(what, &ours, &theirs, 2e-5)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_of_two_algorithms_and_passes() {
        let all = comparisons(Device::Cpu);
        assert_eq!(all.len(), usize::from(has_vectors()));
        for one in all {
            assert!(one.agrees() && one.apart > 0.0, "{one}");
        }
    }
}
