//! The U-Net as an engine runs it.

use tch::{Kind, Tensor};

use super::attention::{EngineAttention, Tokens};
use super::block::Block;
use super::conditioning::{ConditioningTables, Label};
use super::conv::Conv;
use super::layout::{Format, repeat_rows};
use super::norm::{Modulation, Norm, is_fused_on, own_modulation};
use super::optimizations::Optimizations;
use super::precision::exactly;
use super::upsample::DoublingConv;
use crate::nn::resblock::ResBlock;
use crate::nn::sampling::Resize;
use crate::nn::trunk::{Entry, Grow, Shrink};
use crate::nn::{ClassLabel, UNet, attention as plain};
use crate::predictor::NoisePredictor;

/// Slices that fill a GPU of today: more at once bring little, and memory grows with them.
const TOGETHER: usize = 32;

/// A U-Net made ready for inference: the function of [`UNet`], computed with less.
#[derive(Debug)]
pub struct Engine {
    format: Format,
    optimizations: Optimizations,
    conditioning: ConditioningTables,
    stem: Conv,
    down: Vec<Down>,
    middle: (Block, EngineAttention, Block),
    up: Vec<Up>,
    out_norm: Norm,
    out_modulation: Modulation,
    out_conv: Conv,
}

/// One entry of `input_blocks` after the first.
#[derive(Debug)]
enum Down {
    Block(Box<Block>, Option<EngineAttention>),
    Shrink(Conv),
}

/// One entry of `output_blocks`.
#[derive(Debug)]
struct Up {
    block: Block,
    attention: Option<EngineAttention>,
    grow: Option<Widen>,
}

/// A level's end on the way up.
#[derive(Debug)]
enum Widen {
    Conv(DoublingConv),
    Block(Box<Block>),
}

/// Gives blocks their indices and gathers what their conditioning needs.
struct Builder {
    format: Format,
    optimizations: Optimizations,
    conditioned: Vec<(crate::nn::init::Affine, crate::nn::norm::GroupNorm)>,
    attentions: usize,
    /// Of all blocks alike.
    scale_shift: bool,
    /// Side of the maps of the next layer.
    side: i64,
}

impl Builder {
    fn block(&mut self, block: ResBlock, shared: Option<i64>) -> Block {
        match block.resize {
            Some(Resize::Halve) => self.side /= 2,
            Some(Resize::Double) => self.side *= 2,
            None => {}
        }
        let index = self.conditioned.len();
        let even = self.side % 2 == 0;
        let made = Block::new(&block, self.format, self.optimizations, index, shared, even);
        self.scale_shift = block.scale_shift_norm;
        self.conditioned.push((block.conditioning, block.out_norm));
        made
    }

    fn attention(&mut self, block: plain::Attention) -> EngineAttention {
        let made = EngineAttention::new(block, self.format, self.optimizations, self.attentions);
        self.attentions += 1;
        made
    }
}

impl Engine {
    /// Takes the layers of a network over; convolutions and products are computed in `kind`.
    pub fn new(network: UNet, kind: Kind, optimizations: Optimizations) -> Self {
        tch::no_grad(|| Self::build(network, kind, optimizations))
    }

    fn build(network: UNet, kind: Kind, mut optimizations: Optimizations) -> Self {
        if !is_fused_on(network.trunk.stem.weight.device()) {
            optimizations.remove(Optimizations::FUSED_NORM);
        }
        let format = Format::new(kind, optimizations.contains(Optimizations::CHANNELS_LAST));
        // The input is what noise is measured in, the output what guidance multiplies: neither is rounded.
        let ends = Format::new(
            format.wide,
            optimizations.contains(Optimizations::CHANNELS_LAST),
        );
        let mut builder = Builder {
            format,
            optimizations,
            conditioned: Vec::new(),
            attentions: 0,
            scale_shift: true,
            side: network.image_size,
        };
        let trunk = network.trunk;
        let stem = Conv::new(&trunk.stem, ends);
        let stem_width = trunk.stem.weight.size()[0];
        let mut down = Vec::with_capacity(trunk.down.len());
        for entry in trunk.down {
            down.push(match entry {
                Entry::Block(block, attention) => Down::Block(
                    Box::new(builder.block(block, None)),
                    attention.map(|attention| builder.attention(attention)),
                ),
                Entry::Shrink(Shrink::Conv(downsample)) => {
                    builder.side /= 2;
                    let conv = &downsample.conv;
                    Down::Shrink(Conv::with(&conv.weight, Some(&conv.bias), format, 2, 1))
                }
                Entry::Shrink(Shrink::Block(block)) => {
                    Down::Block(Box::new(builder.block(block, None)), None)
                }
            });
        }
        let (first, attention, second) = trunk.middle;
        let middle = (
            builder.block(first, None),
            builder.attention(attention),
            builder.block(second, None),
        );
        let mut up = Vec::with_capacity(network.up.len());
        let last = network.up.len().saturating_sub(1);
        for (index, entry) in network.up.into_iter().enumerate() {
            // The last skip is the stem's.
            let shared = (optimizations.contains(Optimizations::STEM) && index == last)
                .then_some(stem_width);
            let block = builder.block(entry.block, shared);
            let attention = entry
                .attention
                .map(|attention| builder.attention(attention));
            let grow = entry.grow.map(|grow| match grow {
                Grow::Conv(upsample) => {
                    builder.side *= 2;
                    Widen::Conv(DoublingConv::new(
                        &upsample.conv,
                        format,
                        optimizations.contains(Optimizations::UPSAMPLE),
                    ))
                }
                Grow::Block(block) => Widen::Block(Box::new(builder.block(block, None))),
            });
            up.push(Up {
                block,
                attention,
                grow,
            });
        }
        let out_norm = Norm {
            silu: network.out_silu,
            out: format.wide,
            ..Norm::new(format, optimizations.contains(Optimizations::FUSED_NORM))
        };
        Self {
            format,
            optimizations,
            stem,
            down,
            middle,
            up,
            out_norm,
            out_modulation: own_modulation(&network.out_norm, format),
            out_conv: Conv::new(&network.out_conv, ends),
            conditioning: ConditioningTables::new(
                network.conditioner,
                builder.conditioned,
                builder.scale_shift,
                format,
                optimizations.contains(Optimizations::TABLES),
            ),
        }
    }

    /// The network's output for each of `labels` on the same input, one after another along the batch: `[N, C, H, W]`
    /// to `[labels N, C', H, W]`, both in the wide kind. `times` have an equal share of the rows of the input each.
    fn evaluate(&mut self, x: &Tensor, times: &[i64], labels: &[Label]) -> Tensor {
        tch::no_grad(|| {
            let copies = i64::try_from(labels.len()).unwrap_or(1);
            let rows = copies * x.size()[0];
            let device = x.device();
            let modulations = exactly(device, || self.modulations(times, labels));
            let tokens = exactly(device, || {
                let blocks = attentions(&self.down, &self.middle.1, &self.up);
                self.conditioning.tokens(
                    labels,
                    rows,
                    blocks,
                    self.optimizations.contains(Optimizations::CLASS_TOKEN),
                )
            });
            self.forward(x, copies, rows, &modulations, &tokens)
        })
    }

    /// Of each block, those of all labels, and of a label those of all times.
    fn modulations(&mut self, times: &[i64], labels: &[Label]) -> Vec<Vec<Modulation>> {
        let mut of_rows = Vec::with_capacity(times.len() * labels.len());
        for label in labels {
            for time in times {
                of_rows.push(self.conditioning.modulations(*time, *label));
            }
        }
        let blocks = of_rows.first().map_or(0, |blocks| blocks.len());
        (0..blocks)
            .map(|block| {
                of_rows
                    .iter()
                    .filter_map(|blocks| blocks.get(block).map(Modulation::shallow_clone))
                    .collect()
            })
            .collect()
    }

    fn forward(
        &self,
        x: &Tensor,
        copies: i64,
        rows: i64,
        modulations: &[Vec<Modulation>],
        tokens: &Tokens,
    ) -> Tensor {
        let run = |block: &Block, parts: &[&Tensor]| {
            let modulations = modulations
                .get(block.index())
                .map_or(&[][..], Vec::as_slice);
            block.forward(parts, rows, modulations)
        };
        let x = self.format.order(&x.to_kind(self.format.wide));
        let x = if self.optimizations.contains(Optimizations::STEM) {
            x
        } else {
            repeat_rows(&x, copies)
        };
        let mut hidden = exactly(x.device(), || self.stem.forward(&x)).to_kind(self.format.kind);
        let mut skips = vec![hidden.shallow_clone()];
        for entry in &self.down {
            hidden = match entry {
                Down::Block(block, attention) => {
                    attend(attention.as_ref(), run(block, &[&hidden]), tokens)
                }
                Down::Shrink(conv) => conv.forward(&hidden),
            };
            skips.push(hidden.shallow_clone());
        }
        let (first, attention, second) = &self.middle;
        hidden = run(first, &[&hidden]);
        hidden = attention.forward(hidden, tokens);
        hidden = run(second, &[&hidden]);
        // There is one skip for every entry.
        for (entry, skip) in self.up.iter().zip(skips.into_iter().rev()) {
            hidden = run(&entry.block, &[&hidden, &skip]);
            hidden = attend(entry.attention.as_ref(), hidden, tokens);
            hidden = match &entry.grow {
                None => hidden,
                Some(Widen::Conv(upsample)) => upsample.forward(&hidden, self.format),
                Some(Widen::Block(block)) => run(block, &[&hidden]),
            };
        }
        let modulation = std::slice::from_ref(&self.out_modulation);
        let normed = self.out_norm.forward(&[&hidden], rows, modulation);
        exactly(normed.device(), || self.out_conv.forward(&normed)).contiguous()
    }
}

fn attend(attention: Option<&EngineAttention>, hidden: Tensor, tokens: &Tokens) -> Tensor {
    match attention {
        Some(attention) => attention.forward(hidden, tokens),
        None => hidden,
    }
}

/// All attention blocks in the order of their indices.
fn attentions<'a>(
    down: &'a [Down],
    middle: &'a EngineAttention,
    up: &'a [Up],
) -> impl Iterator<Item = &'a EngineAttention> + Clone {
    down.iter()
        .filter_map(|entry| match entry {
            Down::Block(_, attention) => attention.as_ref(),
            Down::Shrink(_) => None,
        })
        .chain(std::iter::once(middle))
        .chain(up.iter().filter_map(|entry| entry.attention.as_ref()))
}

impl NoisePredictor for Engine {
    fn predict(&mut self, x: &Tensor, network_time: i64, label: ClassLabel) -> Tensor {
        self.predict_with_variance(x, network_time, label).0
    }

    fn predict_pair(&mut self, x: &Tensor, network_time: i64) -> (Tensor, Tensor) {
        let labels = [ClassLabel::Healthy, ClassLabel::Null];
        if !self.optimizations.contains(Optimizations::PAIR) {
            let [healthy, null] = labels.map(|label| self.predict(x, network_time, label));
            return (healthy, null);
        }
        let output = self.evaluate(x, &[network_time], &labels.map(Label::Class));
        let slices = x.size()[0];
        let of = |label: i64| noise(&output.narrow(0, label * slices, slices), x);
        (of(0), of(1))
    }

    fn predict_pairs(&mut self, inputs: &[(Tensor, i64)]) -> Vec<(Tensor, Tensor)> {
        let Some((first, _)) = inputs.first() else {
            return Vec::new();
        };
        if !self.optimizations.contains(Optimizations::PAIR) || inputs.len() == 1 {
            let each = inputs.iter();
            return each.map(|(x, time)| self.predict_pair(x, *time)).collect();
        }
        let (xs, times): (Vec<&Tensor>, Vec<i64>) =
            inputs.iter().map(|(x, time)| (x, *time)).unzip();
        let labels = [ClassLabel::Healthy, ClassLabel::Null];
        let output = self.evaluate(&Tensor::cat(&xs, 0), &times, &labels.map(Label::Class));
        let slices = first.size()[0];
        let all = output.size()[0] / 2;
        let of = |row: i64| noise(&output.narrow(0, row, slices), first);
        (0..)
            .take(inputs.len())
            .map(|index: i64| (of(index * slices), of(all + index * slices)))
            .collect()
    }

    fn slices_together(&self) -> usize {
        if self.optimizations.contains(Optimizations::TIMES) {
            TOGETHER
        } else {
            1
        }
    }

    fn predict_with_variance(
        &mut self,
        x: &Tensor,
        network_time: i64,
        label: ClassLabel,
    ) -> (Tensor, Option<Tensor>) {
        let output = self.evaluate(x, &[network_time], &[Label::Class(label)]);
        let width = x.size()[1];
        // Values of a learned variance follow the noise.
        let learned = output.size()[1] == 2 * width;
        let variance = learned.then(|| output.narrow(1, width, width));
        (noise(&output, x), variance)
    }

    fn predict_between(&mut self, x: &Tensor, network_time: i64, unhealthy: f64) -> Tensor {
        let label = Label::Between(unhealthy.to_bits());
        noise(&self.evaluate(x, &[network_time], &[label]), x)
    }
}

fn noise(output: &Tensor, x: &Tensor) -> Tensor {
    output.narrow(1, 0, x.size()[1])
}
