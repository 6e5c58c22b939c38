//! The U-Net "v2" of AnoFPDM: predicts the noise in x_t given time and class label.
//!
//! Layers and names are those of the public checkpoints. Two quirks of those weights are kept:
//! no SiLU before the first convolution of a residual block, and none before the last convolution
//! of the network (SCIENCE 1).

use anofpdm_common::network::{Arch, NetworkConfig};
use tch::Tensor;
use tch::nn::Path;

use super::attention::Attention;
use super::embedding::{ClassEmbedding, Labels, TimeEmbedding};
use super::init::Affine;
use super::norm::GroupNorm;
use super::resblock::{ResBlock, ResBlockConfig};
use super::sampling::{Downsample, Upsample};

/// How a forward pass is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Deterministic.
    Eval,
    /// With dropout of this probability in the residual blocks, from torch's global generator.
    Train {
        /// Probability of dropping a value.
        dropout: f64,
    },
}

/// A part of the network whose output can be watched, by its public name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// `time_embed`
    Time,
    /// `class_emb`
    Class,
    /// `input_blocks.N`
    Input(usize),
    /// `middle_block`
    Middle,
    /// `output_blocks.N`
    Output(usize),
}

/// The guided noise predictor epsilon(x_t, t, y).
#[derive(Debug)]
pub struct UNet {
    time: TimeEmbedding,
    class: ClassEmbedding,
    stem: Affine,
    down: Vec<DownEntry>,
    middle: (ResBlock, Attention, ResBlock),
    up: Vec<UpEntry>,
    out_norm: GroupNorm,
    out_silu: bool,
    out_conv: Affine,
}

/// One entry of `input_blocks` after the first.
#[derive(Debug)]
enum DownEntry {
    Block(ResBlock, Option<Attention>),
    Downsample(Downsample),
}

/// One entry of `output_blocks`.
#[derive(Debug)]
struct UpEntry {
    block: ResBlock,
    attention: Option<Attention>,
    upsample: Option<Upsample>,
}

/// What the layers of one network have in common.
struct Common {
    embedding_width: i64,
    heads: i64,
    silus: bool,
}

impl Common {
    fn block(&self, vs: &Path<'_>, in_channels: i64, out_channels: i64) -> ResBlock {
        let config = ResBlockConfig {
            in_channels,
            out_channels,
            embedding_width: self.embedding_width,
            leading_silu: self.silus,
        };
        ResBlock::new(vs, config)
    }

    fn attention(&self, vs: &Path<'_>, channels: i64) -> Attention {
        Attention::new(vs, channels, self.embedding_width, self.heads)
    }
}

impl UNet {
    /// Builds the network under `vs` with fresh weights. `config` must have passed
    /// [`NetworkConfig::validate`].
    pub fn new(vs: &Path<'_>, config: &NetworkConfig) -> Self {
        let base = config.num_channels;
        let common = Common {
            embedding_width: config.embedding_width(),
            heads: config.num_heads,
            silus: match config.arch {
                Arch::V2 => false,
            },
        };
        let attends = |level: usize| {
            config
                .attention_downsample_rates
                .contains(&(1_i64 << level))
        };
        let widths = config.level_channels();
        let last = widths.len() - 1;

        let input = vs / "input_blocks";
        let stem = Affine::uniform(&(&input / "0" / "0"), &[base, config.in_channels, 3, 3]);
        let mut down = Vec::new();
        // Width of every output the decoder will be given back, last one first to be used.
        let mut skips = vec![base];
        let mut channels = base;
        for (level, &width) in widths.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let entry = &input / (down.len() + 1);
                let block = common.block(&(&entry / "0"), channels, width);
                channels = width;
                let attention = attends(level).then(|| common.attention(&(entry / "1"), channels));
                down.push(DownEntry::Block(block, attention));
                skips.push(channels);
            }
            if level < last {
                let entry = &input / (down.len() + 1);
                down.push(DownEntry::Downsample(Downsample::new(
                    &(entry / "0"),
                    channels,
                )));
                skips.push(channels);
            }
        }

        let center = vs / "middle_block";
        let middle = (
            common.block(&(&center / "0"), channels, channels),
            common.attention(&(&center / "1"), channels),
            common.block(&(center / "2"), channels, channels),
        );

        let output = vs / "output_blocks";
        let mut up = Vec::new();
        for (level, &width) in widths.iter().enumerate().rev() {
            for index in 0..=config.num_res_blocks {
                let entry = &output / up.len();
                let skip = skips.pop().unwrap_or(base);
                let block = common.block(&(&entry / "0"), channels + skip, width);
                channels = width;
                let attention = attends(level).then(|| common.attention(&(&entry / "1"), channels));
                let next = if attention.is_some() { "2" } else { "1" };
                let upsample = (level > 0 && index == config.num_res_blocks)
                    .then(|| Upsample::new(&(entry / next), channels));
                up.push(UpEntry {
                    block,
                    attention,
                    upsample,
                });
            }
        }

        let out = vs / "out";
        Self {
            time: TimeEmbedding::new(vs, base, common.embedding_width),
            class: ClassEmbedding::new(vs, config.num_classes, base, common.embedding_width),
            stem,
            down,
            middle,
            up,
            out_norm: GroupNorm::new(&(&out / "0"), channels),
            out_silu: common.silus,
            out_conv: Affine::zero(&(out / "2"), &[config.output_channels(), channels, 3, 3]),
        }
    }

    /// Noise predicted in `x` (`[N, C, H, W]`) at network times `t` (i64 `[N]`), same shape as `x`.
    pub fn forward(&self, x: &Tensor, t: &Tensor, labels: &Labels, mode: Mode) -> Tensor {
        self.forward_observed(x, t, labels, mode, &mut |_, _| {})
    }

    /// [`UNet::forward`] that shows the output of every module to `observe`.
    pub fn forward_observed(
        &self,
        x: &Tensor,
        t: &Tensor,
        labels: &Labels,
        mode: Mode,
        observe: &mut dyn FnMut(Module, &Tensor),
    ) -> Tensor {
        let dropout = match mode {
            Mode::Eval => 0.0,
            Mode::Train { dropout } => dropout,
        };
        let time = self.time.forward(t);
        observe(Module::Time, &time);
        let class = self.class.forward(labels);
        observe(Module::Class, &class.vector);
        let embedding = time + &class.vector;

        let mut hidden = self.stem.conv(x, 1);
        observe(Module::Input(0), &hidden);
        let mut skips = vec![hidden.shallow_clone()];
        for (index, entry) in self.down.iter().enumerate() {
            hidden = match entry {
                DownEntry::Block(block, attention) => {
                    let hidden = block.forward(&hidden, &embedding, dropout);
                    match attention {
                        Some(attention) => attention.forward(&hidden, &class),
                        None => hidden,
                    }
                }
                DownEntry::Downsample(downsample) => downsample.forward(&hidden),
            };
            observe(Module::Input(index + 1), &hidden);
            skips.push(hidden.shallow_clone());
        }

        let (first, attention, second) = &self.middle;
        hidden = first.forward(&hidden, &embedding, dropout);
        hidden = attention.forward(&hidden, &class);
        hidden = second.forward(&hidden, &embedding, dropout);
        observe(Module::Middle, &hidden);

        // `new` makes exactly one up entry for every skip.
        for (index, (entry, skip)) in self.up.iter().zip(skips.into_iter().rev()).enumerate() {
            hidden = entry
                .block
                .forward(&Tensor::cat(&[hidden, skip], 1), &embedding, dropout);
            if let Some(attention) = &entry.attention {
                hidden = attention.forward(&hidden, &class);
            }
            if let Some(upsample) = &entry.upsample {
                hidden = upsample.forward(&hidden);
            }
            observe(Module::Output(index), &hidden);
        }

        let normed = self.out_norm.forward(&hidden);
        let activated = if self.out_silu { normed.silu() } else { normed };
        self.out_conv.conv(&activated, 1)
    }
}
