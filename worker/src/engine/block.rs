//! The residual block: GroupNorm, convolution, GroupNorm with scale and shift, SiLU, convolution, and the input.

use anofpdm_common::network::NORM_GROUPS;
use tch::Tensor;

use super::conv::Conv;
use super::layout::{Format, add_rows};
use super::norm::{Modulation, Norm, join, own_modulation};
use super::optimizations::Optimizations;
use crate::nn::init::Affine;
use crate::nn::resblock::ResBlock;
use crate::nn::sampling::Resize;

/// One residual block. Its input may come in parts that are joined along their channels, and a part may have rows for
/// one label only: what does not depend on the label is then computed once.
#[derive(Debug)]
pub(super) struct Block {
    resize: Option<Resize>,
    in_norm: Norm,
    in_modulation: Modulation,
    in_conv: Conv,
    split: Option<Split>,
    out_norm: Norm,
    /// That of the second norm by itself, where time and label come before it.
    out_modulation: Option<Modulation>,
    out_conv: Conv,
    skip: Option<Skip>,
    index: usize,
}

/// The first convolution in two, one for each part of the input, where one part serves all labels.
#[derive(Debug)]
struct Split {
    /// Channels and groups of the first part.
    channels: i64,
    groups: i64,
    first: Conv,
    second: Conv,
}

/// A 1x1 convolution around the block; its bias is in the block's last one.
#[derive(Debug)]
struct Skip {
    conv: Conv,
    /// `[in, out]`, where channels lie last: then it adds onto the result as it multiplies.
    matrix: Option<Tensor>,
}

impl Block {
    /// `index` is that of its modulations. `shared` says how many of the input's last channels come with rows
    /// for one label only; their part is then convolved apart, if the groups allow it. `even` says that the maps
    /// have even sides.
    pub(super) fn new(
        block: &ResBlock,
        format: Format,
        optimizations: Optimizations,
        index: usize,
        shared: Option<i64>,
        even: bool,
    ) -> Self {
        let winograd = optimizations.contains(Optimizations::WINOGRAD) && even;
        let norm = Norm::new(format, optimizations.contains(Optimizations::FUSED_NORM));
        let same3 = |affine: &Affine, bias: &Tensor| {
            Conv::same3(&affine.weight, Some(bias), format, winograd)
        };
        let mut out_bias = block.out_conv.bias.shallow_clone();
        let skip = block.skip.as_ref().map(|skip| {
            out_bias = &block.out_conv.bias + &skip.bias;
            let weight = skip.weight.to_kind(format.kind);
            Skip {
                conv: Conv::with(&weight, None, format, 1, 0),
                matrix: format
                    .channels_last
                    .then(|| weight.flatten(1, 3).transpose(0, 1).contiguous()),
            }
        });
        Self {
            resize: block.resize,
            in_norm: Norm {
                silu: block.leading_silu,
                ..norm
            },
            in_modulation: own_modulation(&block.in_norm, format),
            in_conv: same3(&block.in_conv, &block.in_conv.bias),
            split: shared.and_then(|shared| Split::new(block, format, shared, winograd)),
            out_norm: Norm { silu: true, ..norm },
            out_modulation: (!block.scale_shift_norm)
                .then(|| own_modulation(&block.out_norm, format)),
            out_conv: same3(&block.out_conv, &out_bias),
            skip,
            index,
        }
    }

    /// Which of the modulations of a network are this block's.
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// `rows` are those of the result: of all labels, an equal share each, in the order of `modulations`.
    pub(super) fn forward(
        &self,
        parts: &[&Tensor],
        rows: i64,
        modulations: &[Modulation],
    ) -> Tensor {
        let hidden = self.first_half(parts);
        let hidden = match &self.out_modulation {
            None => self.out_norm.forward(&[&hidden], rows, modulations),
            Some(own) => {
                let told = add_offsets(hidden, rows, modulations);
                let own = std::slice::from_ref(own);
                self.out_norm.forward(&[&told], rows, own)
            }
        };
        let hidden = self.out_conv.forward(&hidden);
        match self.resize {
            None => self.add_input(hidden, parts),
            Some(resize) => {
                let resized: Vec<Tensor> = parts.iter().map(|part| resize.apply(part)).collect();
                self.add_input(hidden, &resized.iter().collect::<Vec<_>>())
            }
        }
    }

    fn add_input(&self, mut hidden: Tensor, parts: &[&Tensor]) -> Tensor {
        match &self.skip {
            // A block that keeps the width has its input in one part.
            None => parts.iter().fold(hidden, |sum, part| add_rows(sum, part)),
            Some(skip) => {
                skip.add(&mut hidden, parts);
                hidden
            }
        }
    }

    /// As many rows as the longest part has.
    fn first_half(&self, parts: &[&Tensor]) -> Tensor {
        let rows = parts.iter().map(|part| part.size()[0]).max().unwrap_or(0);
        let own = std::slice::from_ref(&self.in_modulation);
        match (&self.split, parts) {
            (Some(split), [first, second]) if second.size()[0] < rows => {
                let norm = |part: &Tensor, from: i64, groups: i64| {
                    let modulation = self.in_modulation.narrow(from, part.size()[1]);
                    let norm = Norm {
                        groups,
                        ..self.in_norm
                    };
                    norm.forward(&[part], part.size()[0], &[modulation])
                };
                let first = norm(first, 0, split.groups);
                let second = norm(second, split.channels, NORM_GROUPS - split.groups);
                add_rows(split.first.forward(&first), &split.second.forward(&second))
            }
            _ => {
                let normed = self.in_norm.forward(parts, rows, own);
                let normed = match self.resize {
                    None => normed,
                    Some(resize) => resize.apply(&normed),
                };
                self.in_conv.forward(&normed)
            }
        }
    }
}

/// The map plus the offset of each modulation, an equal share of `rows` each. Rows that serve several of them are
/// repeated.
fn add_offsets(hidden: Tensor, rows: i64, modulations: &[Modulation]) -> Tensor {
    let branches = i64::try_from(modulations.len()).unwrap_or(1).max(1);
    let (given, share) = (hidden.size()[0], rows / branches);
    let mut results: Vec<Tensor> = modulations
        .iter()
        .zip(0_i64..)
        .map(|(modulation, branch)| {
            let part = hidden.narrow(0, branch * share % given.max(1), share);
            let offset = modulation.offset.to_kind(hidden.kind());
            part + offset.view([1, -1, 1, 1])
        })
        .collect();
    if results.len() == 1 {
        results.swap_remove(0)
    } else {
        Tensor::cat(&results, 0)
    }
}

impl Split {
    /// `None` where a group of the norm has channels of both parts.
    fn new(block: &ResBlock, format: Format, shared: i64, winograd: bool) -> Option<Self> {
        let weight = &block.in_conv.weight;
        let whole = weight.size()[1];
        let channels = whole - shared;
        let size = whole / NORM_GROUPS;
        if channels <= 0 || channels % size != 0 {
            return None;
        }
        let part = |from: i64, count: i64, bias: Option<&Tensor>| {
            Conv::same3(&weight.narrow(1, from, count), bias, format, winograd)
        };
        Some(Self {
            channels,
            groups: channels / size,
            first: part(0, channels, Some(&block.in_conv.bias)),
            second: part(channels, shared, None),
        })
    }
}

impl Skip {
    fn add(&self, hidden: &mut Tensor, parts: &[&Tensor]) {
        let rows = hidden.size()[0];
        let flat = hidden.permute([0, 2, 3, 1]);
        match &self.matrix {
            Some(matrix) if flat.is_contiguous() => {
                let mut at = 0;
                for part in parts {
                    let channels = part.size()[1];
                    let matrix = matrix.narrow(0, at, channels);
                    let values = part.permute([0, 2, 3, 1]).reshape([-1, channels]);
                    if part.size()[0] == rows {
                        drop(flat.view([-1, matrix.size()[1]]).addmm_(&values, &matrix));
                    } else {
                        let [_, height, width, _] = flat.size()[..] else {
                            unreachable!("a map has four dimensions")
                        };
                        let once = values
                            .matmul(&matrix)
                            .view([part.size()[0], height, width, -1]);
                        *hidden = add_rows(hidden.shallow_clone(), &once.permute([0, 3, 1, 2]));
                    }
                    at += channels;
                }
            }
            _ => {
                let joined = self.conv.forward(&join(parts, parts[0].size()[0]));
                *hidden = add_rows(hidden.shallow_clone(), &joined);
            }
        }
    }
}
