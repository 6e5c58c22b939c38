//! The attention pool at the end of a classifier: a feature map to one vector of logits.

use tch::Tensor;
use tch::nn::{Init, Path};

use super::attention::softmax;
use super::init::Affine;

/// The mean token put first, a learned position for every token, attention, and a projection of
/// what the mean token has gathered.
///
/// Channel layout of `qkv_proj`: `[q | k | v]` over all heads at once, unlike the blocks.
#[derive(Debug)]
pub struct AttentionPool {
    heads: i64,
    positions: Tensor,
    qkv: Affine,
    projection: Affine,
}

impl AttentionPool {
    /// For feature maps of `channels` x `side` x `side`.
    pub fn new(vs: &Path<'_>, channels: i64, side: i64, heads: i64, outputs: i64) -> Self {
        #[allow(clippy::cast_precision_loss)] // widths are small
        let normal = Init::Randn {
            mean: 0.0,
            stdev: (channels as f64).powf(-0.5),
        };
        Self {
            heads,
            positions: vs.var("positional_embedding", &[channels, side * side + 1], normal),
            qkv: Affine::uniform(&(vs / "qkv_proj"), &[3 * channels, channels, 1]),
            projection: Affine::uniform(&(vs / "c_proj"), &[outputs, channels, 1]),
        }
    }

    /// `[N, C, H, W]` to `[N, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let flat = x.flatten(2, -1);
        let mean = flat.mean_dim(&[-1_i64][..], true, None);
        let tokens = Tensor::cat(&[mean, flat], 2) + self.positions.unsqueeze(0);
        let (n, channels, count) = (tokens.size()[0], tokens.size()[1], tokens.size()[2]);
        let head = channels / self.heads;
        #[allow(clippy::cast_precision_loss)] // head widths are small
        let scale = (head as f64).powf(-0.25);
        let qkv = self
            .qkv
            .pointwise(&tokens)
            .view([n, 3, self.heads, head, count])
            .unbind(1);
        // Only the mean token's answer is read, so only its question is asked.
        let query = (qkv[0].narrow(3, 0, 1) * scale).transpose(2, 3);
        let weights = softmax(&query.matmul(&(&qkv[1] * scale)), x.kind());
        let mixed = weights
            .matmul(&qkv[2].transpose(2, 3))
            .reshape([n, channels, 1]);
        self.projection.pointwise(&mixed).squeeze_dim(2)
    }
}
