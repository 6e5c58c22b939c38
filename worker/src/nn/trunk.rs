//! The half that all networks have: `input_blocks` and `middle_block`.

use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use tch::Tensor;
use tch::nn::Path;

use super::attention::Attention;
use super::conditioner::Conditioning;
use super::init::Affine;
use super::mode::{Mode, Module};
use super::recompute;
use super::resblock::{ResBlock, ResBlockConfig};
use super::sampling::{Downsample, Resize, Upsample};

/// What the layers of one network have in common.
pub(super) struct Layers {
    embedding_width: i64,
    heads: Heads,
    /// SiLU before the first convolution of a block: everywhere but in v2.
    pub(super) silus: bool,
    class_tokens: bool,
    resblock_updown: bool,
    scale_shift_norm: bool,
}

impl Layers {
    pub(super) fn of(config: &NetworkConfig) -> Self {
        let v2 = config.arch == Arch::V2;
        Self {
            embedding_width: config.embedding_width(),
            heads: config.heads,
            silus: !v2,
            class_tokens: v2,
            resblock_updown: config.resblock_updown,
            scale_shift_norm: config.use_scale_shift_norm,
        }
    }

    pub(super) fn block(&self, vs: &Path<'_>, in_channels: i64, out_channels: i64) -> ResBlock {
        self.resizing_block(vs, in_channels, out_channels, None)
    }

    fn resizing_block(
        &self,
        vs: &Path<'_>,
        in_channels: i64,
        out_channels: i64,
        resize: Option<Resize>,
    ) -> ResBlock {
        let config = ResBlockConfig {
            in_channels,
            out_channels,
            embedding_width: self.embedding_width,
            leading_silu: self.silus,
            scale_shift_norm: self.scale_shift_norm,
            resize,
        };
        ResBlock::new(vs, config)
    }

    pub(super) fn attention(&self, vs: &Path<'_>, channels: i64) -> Attention {
        let class_width = self.class_tokens.then_some(self.embedding_width);
        // A configuration that was validated has heads that divide the width.
        let heads = self.heads.of(channels).unwrap_or(1);
        Attention::new(vs, channels, class_width, heads)
    }

    fn shrink(&self, vs: &Path<'_>, channels: i64) -> Shrink {
        if self.resblock_updown {
            Shrink::Block(self.resizing_block(vs, channels, channels, Some(Resize::Halve)))
        } else {
            Shrink::Conv(Downsample::new(vs, channels))
        }
    }

    pub(super) fn grow(&self, vs: &Path<'_>, channels: i64) -> Grow {
        if self.resblock_updown {
            Grow::Block(self.resizing_block(vs, channels, channels, Some(Resize::Double)))
        } else {
            Grow::Conv(Upsample::new(vs, channels))
        }
    }
}

/// A level's end on the way down.
#[derive(Debug)]
pub(crate) enum Shrink {
    Conv(Downsample),
    Block(ResBlock),
}

/// A level's end on the way up.
#[derive(Debug)]
pub(crate) enum Grow {
    Conv(Upsample),
    Block(ResBlock),
}

impl Grow {
    pub(super) fn forward(&self, x: &Tensor, conditioning: &Tensor, mode: Mode<'_>) -> Tensor {
        match self {
            Self::Conv(upsample) => upsample.forward(x),
            Self::Block(block) => recompute::residual(block, &[x], conditioning, mode),
        }
    }
}

/// One entry of `input_blocks` after the first.
#[derive(Debug)]
pub(crate) enum Entry {
    Block(ResBlock, Option<Attention>),
    Shrink(Shrink),
}

/// `input_blocks` and `middle_block`.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) stem: Affine,
    pub(crate) down: Vec<Entry>,
    pub(crate) middle: (ResBlock, Attention, ResBlock),
}

/// What the trunk makes of its input.
pub(super) struct Features {
    /// After the middle block, `[N, C, H, W]` of the deepest level.
    pub(super) deepest: Tensor,
    /// The outputs of all input blocks, first to last.
    pub(super) skips: Vec<Tensor>,
}

impl Trunk {
    /// The trunk, and the widths of its skips, first to last.
    pub(super) fn new(vs: &Path<'_>, config: &NetworkConfig, layers: &Layers) -> (Self, Vec<i64>) {
        let widths = config.level_channels();
        let last = widths.len() - 1;
        let mut channels = widths.first().copied().unwrap_or(config.num_channels);
        let input = vs / "input_blocks";
        let stem = Affine::uniform(&(&input / "0" / "0"), &[channels, config.in_channels, 3, 3]);
        let mut down = Vec::new();
        let mut skips = vec![channels];
        for (level, &width) in widths.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let entry = &input / (down.len() + 1);
                let block = layers.block(&(&entry / "0"), channels, width);
                channels = width;
                let attention = config
                    .attends(level)
                    .then(|| layers.attention(&(entry / "1"), channels));
                down.push(Entry::Block(block, attention));
                skips.push(channels);
            }
            if level < last {
                let entry = &input / (down.len() + 1);
                down.push(Entry::Shrink(layers.shrink(&(entry / "0"), channels)));
                skips.push(channels);
            }
        }
        let center = vs / "middle_block";
        let middle = (
            layers.block(&(&center / "0"), channels, channels),
            layers.attention(&(&center / "1"), channels),
            layers.block(&(center / "2"), channels, channels),
        );
        (Self { stem, down, middle }, skips)
    }

    /// `x` is `[N, C, H, W]`; every module's output is shown to `observe`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        conditioning: &Conditioning,
        mode: Mode<'_>,
        observe: &mut dyn FnMut(Module, &Tensor),
    ) -> Features {
        let (vector, tokens) = (&conditioning.vector, conditioning.tokens.as_ref());
        let mut hidden = self.stem.conv(x, 1);
        observe(Module::Input(0), &hidden);
        let mut skips = vec![hidden.shallow_clone()];
        for (index, entry) in self.down.iter().enumerate() {
            hidden = match entry {
                Entry::Block(block, attention) => {
                    let hidden = recompute::residual(block, &[&hidden], vector, mode);
                    match attention {
                        Some(attention) => recompute::attention(attention, &hidden, tokens, mode),
                        None => hidden,
                    }
                }
                Entry::Shrink(Shrink::Conv(downsample)) => downsample.forward(&hidden),
                Entry::Shrink(Shrink::Block(block)) => {
                    recompute::residual(block, &[&hidden], vector, mode)
                }
            };
            observe(Module::Input(index + 1), &hidden);
            skips.push(hidden.shallow_clone());
        }
        let (first, attention, second) = &self.middle;
        hidden = recompute::residual(first, &[&hidden], vector, mode);
        hidden = recompute::attention(attention, &hidden, tokens, mode);
        hidden = recompute::residual(second, &[&hidden], vector, mode);
        observe(Module::Middle, &hidden);
        Features {
            deepest: hidden,
            skips,
        }
    }
}
