//! How feature maps and weights lie in memory.

use tch::{Kind, Tensor};

use crate::nn::norm::statistics_kind;

/// Number format and memory order of an engine's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// What convolutions and products are computed in.
    pub(super) kind: Kind,
    /// What statistics, the input and the output are in: float32, or float64 for float64 weights.
    pub(super) wide: Kind,
    /// Channels of a pixel lie side by side.
    pub(super) channels_last: bool,
}

impl Format {
    pub(super) const fn new(kind: Kind, channels_last: bool) -> Self {
        Self {
            kind,
            wide: statistics_kind(kind),
            channels_last,
        }
    }

    /// `[N, C, H, W]` in this memory order.
    pub(super) fn order(self, x: &Tensor) -> Tensor {
        if self.channels_last {
            x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
        } else {
            x.contiguous()
        }
    }
}

/// The positions of a map as rows, `[N, C, H, W]` to `[N, H W, C]`; no copy where channels lie last.
pub(super) fn positions(x: &Tensor) -> Tensor {
    x.flatten(2, 3).transpose(1, 2)
}

/// The undoing of [`positions`] for a map of the size of `like`.
pub(super) fn map_like(positions: &Tensor, like: &Tensor) -> Tensor {
    let size = like.size();
    positions.transpose(1, 2).unflatten(2, &size[2..])
}

/// Copies of a batch, one after another: `[N, ...]` to `[times N, ...]`.
pub(super) fn repeat_rows(x: &Tensor, times: i64) -> Tensor {
    if times == 1 {
        x.shallow_clone()
    } else {
        let copies: Vec<&Tensor> = (0..times).map(|_| x).collect();
        Tensor::cat(&copies, 0)
    }
}

/// `x + y` in the memory of `x`; `y` may have a whole fraction of the rows of `x` and then serves each part.
pub(super) fn add_rows(mut x: Tensor, y: &Tensor) -> Tensor {
    let (rows, given) = (x.size()[0], y.size()[0]);
    if rows == given {
        return x.g_add_(y);
    }
    for part in 0..rows / given.max(1) {
        drop(x.narrow(0, part * given, given).g_add_(y));
    }
    x
}
