//! Nearest-neighbour doubling and 3x3 convolution as four 2x2 convolutions of the small map.
//!
//! An output pixel of even row sees, of the doubled map, rows 2i - 1, 2i and 2i + 1: those are the small map's rows
//! i - 1, i and i; of odd row, i, i and i + 1. So of each kernel's three rows two fall on one row of the small map and
//! their weights add up; likewise for columns. The four kernels run as one convolution with four times the
//! outputs.

use tch::Tensor;

use super::conv::Conv;
use super::layout::Format;
use crate::nn::init::Affine;

/// Doubling and convolution.
#[derive(Debug)]
pub(super) enum DoublingConv {
    /// All phases as one convolution, `[4 out, in, 2, 2]`.
    Phases(Conv),
    /// As the network says it.
    Plain(Conv),
}

impl DoublingConv {
    pub(super) fn new(affine: &Affine, format: Format, phases: bool) -> Self {
        if !phases {
            return Self::Plain(Conv::new(affine, format));
        }
        // Summed before rounding to a reduced kind.
        let weight = affine.weight.to_kind(format.wide);
        let rows = halves(&weight, 2);
        let kernels: Vec<Tensor> = rows.iter().flat_map(|rows| halves(rows, 3)).collect();
        let weight = Tensor::cat(&kernels, 0);
        let bias = affine.bias.repeat([4]);
        Self::Phases(Conv::with(&weight, Some(&bias), format, 1, 1))
    }

    /// `[N, C, H, W]` to `[N, out, 2 H, 2 W]`.
    pub(super) fn forward(&self, x: &Tensor, format: Format) -> Tensor {
        match self {
            Self::Plain(conv) => {
                let size = x.size();
                conv.forward(&x.upsample_nearest2d([2 * size[2], 2 * size[3]], None, None))
            }
            Self::Phases(conv) => interleave(&conv.forward(x), format),
        }
    }
}

/// Kernels of the even and the odd rows (dimension 2) or columns (3): three taps to two.
fn halves(weight: &Tensor, dimension: i64) -> [Tensor; 2] {
    let tap = |index: i64| weight.narrow(dimension, index, 1);
    [
        Tensor::cat(&[tap(0), tap(1) + tap(2)], dimension),
        Tensor::cat(&[tap(0) + tap(1), tap(2)], dimension),
    ]
}

/// Phases `[N, 4 C, H + 1, W + 1]` to the doubled map `[N, C, 2 H, 2 W]`. The padded convolution covers, for each
/// phase, one row and column more than it needs: the last of the even ones, the first of the odd ones.
fn interleave(phases: &Tensor, format: Format) -> Tensor {
    let (n, channels, height, width) = match phases.size()[..] {
        [n, c, h, w] => (n, c / 4, h - 1, w - 1),
        ref other => panic!("phases must be [N, 4 C, H + 1, W + 1], not {other:?}: a bug"),
    };
    let options = (phases.kind(), phases.device());
    let out = if format.channels_last {
        Tensor::empty([n, 2 * height, 2 * width, channels], options).permute([0, 3, 1, 2])
    } else {
        Tensor::empty([n, channels, 2 * height, 2 * width], options)
    };
    for row in 0..2 {
        for column in 0..2 {
            let phase = phases
                .narrow(1, (2 * row + column) * channels, channels)
                .narrow(2, row, height)
                .narrow(3, column, width);
            out.slice(2, row, None, 2)
                .slice(3, column, None, 2)
                .copy_(&phase);
        }
    }
    out
}
