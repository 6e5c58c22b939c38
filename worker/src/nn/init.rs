//! How fresh weights are drawn: as PyTorch draws them, so that training starts from the same law.

use tch::Tensor;
use tch::nn::{Init, Path};

/// Weight and bias of a linear map or convolution.
#[derive(Debug)]
pub struct Affine {
    /// `[out, in]`, `[out, in, k]` or `[out, in, k, k]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
}

impl Affine {
    /// Uniform within `1 / sqrt(fan_in)`, PyTorch's default for both tensors.
    pub fn uniform(vs: &Path<'_>, shape: &[i64]) -> Self {
        let fan_in: i64 = shape.iter().skip(1).product();
        #[allow(clippy::cast_precision_loss)] // fan-ins are far below 2^52
        let bound = 1.0 / (fan_in as f64).sqrt();
        let init = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        Self::with(vs, shape, init)
    }

    /// Zero: the block it ends starts as the identity.
    pub fn zero(vs: &Path<'_>, shape: &[i64]) -> Self {
        Self::with(vs, shape, Init::Const(0.0))
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

    fn with(vs: &Path<'_>, shape: &[i64], init: Init) -> Self {
        let outputs = shape.first().copied().unwrap_or(0);
        Self {
            weight: vs.var("weight", shape, init),
            bias: vs.var("bias", &[outputs], init),
        }
    }

    /// `[N, in]` to `[N, out]`.
    pub fn linear(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    /// 1x1 convolution over positions, `[N, in, L]` to `[N, out, L]`.
    pub fn pointwise(&self, x: &Tensor) -> Tensor {
        x.conv1d(&self.weight, Some(&self.bias), 1, 0, 1, 1)
    }

    /// Same-size convolution, `[N, in, H, W]` to `[N, out, H, W]`.
    pub fn conv(&self, x: &Tensor, padding: i64) -> Tensor {
        self.conv_stride(x, 1, padding)
    }

    pub fn conv_stride(&self, x: &Tensor, stride: i64, padding: i64) -> Tensor {
        x.conv2d(&self.weight, Some(&self.bias), stride, padding, 1, 1)
    }
}
