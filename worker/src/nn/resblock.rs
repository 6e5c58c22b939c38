//! The residual block, shared by all networks.

use tch::Tensor;
use tch::nn::Path;

use super::dropout::Dropout;
use super::init::Affine;
use super::norm::GroupNorm;
use super::sampling::Resize;

/// Shape and quirks of one residual block.
#[derive(Debug, Clone, Copy)]
pub struct ResBlockConfig {
    pub in_channels: i64,
    pub out_channels: i64,
    /// Width E of the conditioning vector.
    pub embedding_width: i64,
    /// SiLU between the first norm and the first convolution. The public v2 weights were trained
    /// without it (its norm silently ignored a built-in swish); the v1 networks have it.
    pub leading_silu: bool,
    /// Time and label scale and shift after the second norm; otherwise they are added before it.
    pub scale_shift_norm: bool,
    /// Change of the map's size before the first convolution and in the skip.
    pub resize: Option<Resize>,
}

/// GroupNorm - (SiLU) - (resize) - conv - GroupNorm, scale, shift - SiLU - dropout - conv, plus the input. Without
/// scale-shift: conv - plus conditioning - GroupNorm - SiLU.
#[derive(Debug)]
pub struct ResBlock {
    pub(crate) leading_silu: bool,
    pub(crate) scale_shift_norm: bool,
    pub(crate) resize: Option<Resize>,
    pub(crate) in_norm: GroupNorm,
    pub(crate) in_conv: Affine,
    pub(crate) conditioning: Affine,
    pub(crate) out_norm: GroupNorm,
    pub(crate) out_conv: Affine,
    /// 1x1 convolution where the width changes.
    pub(crate) skip: Option<Affine>,
}

impl ResBlock {
    /// A block whose last convolution starts at zero.
    pub fn new(vs: &Path<'_>, config: ResBlockConfig) -> Self {
        let ResBlockConfig {
            in_channels,
            out_channels,
            embedding_width,
            leading_silu,
            scale_shift_norm,
            resize,
        } = config;
        let told = if scale_shift_norm {
            2 * out_channels
        } else {
            out_channels
        };
        let in_layers = vs / "in_layers";
        let out_layers = vs / "out_layers";
        Self {
            leading_silu,
            scale_shift_norm,
            resize,
            in_norm: GroupNorm::new(&(&in_layers / "0"), in_channels),
            in_conv: Affine::uniform(&(in_layers / "2"), &[out_channels, in_channels, 3, 3]),
            conditioning: Affine::uniform(&(vs / "emb_layers" / "1"), &[told, embedding_width]),
            out_norm: GroupNorm::new(&(&out_layers / "0"), out_channels),
            out_conv: Affine::zero(&(out_layers / "3"), &[out_channels, out_channels, 3, 3]),
            skip: (in_channels != out_channels).then(|| {
                Affine::uniform(
                    &(vs / "skip_connection"),
                    &[out_channels, in_channels, 1, 1],
                )
            }),
        }
    }

    /// Another handle of the same weights.
    pub(super) fn shared(&self) -> Self {
        Self {
            leading_silu: self.leading_silu,
            scale_shift_norm: self.scale_shift_norm,
            resize: self.resize,
            in_norm: self.in_norm.shared(),
            in_conv: self.in_conv.shared(),
            conditioning: self.conditioning.shared(),
            out_norm: self.out_norm.shared(),
            out_conv: self.out_conv.shared(),
            skip: self.skip.as_ref().map(Affine::shared),
        }
    }

    pub(super) fn parameters(&self) -> Vec<&Tensor> {
        let affine = [&self.in_conv, &self.conditioning, &self.out_conv];
        let norms = [&self.in_norm, &self.out_norm];
        affine
            .into_iter()
            .chain(&self.skip)
            .flat_map(Affine::parameters)
            .chain(norms.into_iter().flat_map(GroupNorm::parameters))
            .collect()
    }

    /// `x` is `[N, in, H, W]`, `embedding` `[N, E]`; `dropout` comes before the second
    /// convolution (none in evaluation).
    pub fn forward(&self, x: &Tensor, embedding: &Tensor, dropout: Option<&Dropout>) -> Tensor {
        let normed = self.in_norm.forward(x);
        let activated = if self.leading_silu {
            normed.silu()
        } else {
            normed
        };
        let (activated, x) = match self.resize {
            Some(resize) => (resize.apply(&activated), resize.apply(x)),
            None => (activated, x.shallow_clone()),
        };
        let hidden = self.in_conv.conv(&activated, 1);
        let conditioning = self.conditioning.linear(&embedding.silu());
        let conditioning = conditioning.unsqueeze(-1).unsqueeze(-1);
        let hidden = if self.scale_shift_norm {
            let scale_shift = conditioning.chunk(2, 1);
            let (scale, shift) = (&scale_shift[0], &scale_shift[1]);
            (self.out_norm.forward(&hidden) * (scale + 1.0) + shift).silu()
        } else {
            self.out_norm.forward(&(hidden + conditioning)).silu()
        };
        let hidden = match dropout {
            Some(dropout) => dropout.apply(hidden),
            None => hidden,
        };
        let hidden = self.out_conv.conv(&hidden, 1);
        match &self.skip {
            Some(skip) => skip.conv(&x, 0) + hidden,
            None => x + hidden,
        }
    }
}
