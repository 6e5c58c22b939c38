//! Halving and doubling of feature maps.

use tch::Tensor;
use tch::nn::Path;

use super::init::Affine;

/// How a residual block changes the size of the map it works on, in both of its branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Mean over 2 x 2 pixels.
    Halve,
    Double,
}

impl Resize {
    /// `[N, C, H, W]` to `[N, C, H/2, W/2]` or `[N, C, 2 H, 2 W]`.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Halve => x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None),
            Self::Double => double(x),
        }
    }
}

/// 3x3 convolution with stride 2, same width: H x W to H/2 x W/2.
#[derive(Debug)]
pub struct Downsample {
    pub(crate) conv: Affine,
}

impl Downsample {
    /// Keeps the width.
    pub fn new(vs: &Path<'_>, channels: i64) -> Self {
        Self {
            conv: Affine::uniform(&(vs / "op"), &[channels, channels, 3, 3]),
        }
    }

    /// `[N, C, H, W]` to `[N, C, H/2, W/2]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.conv_stride(x, 2, 1)
    }
}

/// Nearest-neighbour doubling, then a 3x3 convolution, same width.
#[derive(Debug)]
pub struct Upsample {
    pub(crate) conv: Affine,
}

impl Upsample {
    /// Keeps the width.
    pub fn new(vs: &Path<'_>, channels: i64) -> Self {
        Self {
            conv: Affine::uniform(&(vs / "conv"), &[channels, channels, 3, 3]),
        }
    }

    /// `[N, C, H, W]` to `[N, C, 2 H, 2 W]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.conv(&double(x), 1)
    }
}

fn double(x: &Tensor) -> Tensor {
    let size = x.size();
    x.upsample_nearest2d([2 * size[2], 2 * size[3]], None, None)
}
