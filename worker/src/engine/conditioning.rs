//! What the layers need to know of time and label, computed once for each.

use std::collections::HashMap;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::attention::{EngineAttention, LabelTokens, Tokens, label_tokens};
use super::layout::Format;
use super::norm::Modulation;
use crate::nn::conditioner::{Conditioner, Conditioning};
use crate::nn::init::Affine;
use crate::nn::norm::GroupNorm;
use crate::nn::{ClassLabel, Labels};

/// Most bytes of modulations kept on a CPU: enough for all times of small networks, where computing them anew would show.
/// Those of 600 times and two labels of the paper's network would be 77 MB, and take a thousandth of its time.
const TABLE_BYTES: usize = 8 << 20;
/// On a GPU those 77 MB are little, and computing them anew some sixty launches a step.
const GPU_TABLE_BYTES: usize = 256 << 20;
/// Most entries: every time of the full schedule with two labels.
const TABLE_ENTRIES: usize = 2000;
/// Labels whose tokens are kept.
const LABELS: usize = 8;

/// Most bytes of modulations kept on `device`.
const fn table_bytes(device: Device) -> usize {
    match device {
        Device::Cpu => TABLE_BYTES,
        _ => GPU_TABLE_BYTES,
    }
}

/// A label as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Label {
    /// One that the network knows.
    Class(ClassLabel),
    /// Between the two classes: the share of the unhealthy one, as the bits of an f64.
    Between(u64),
}

impl Label {
    fn labels(self) -> Labels {
        match self {
            Self::Class(label) => Labels::All(label),
            Self::Between(bits) => Labels::Between {
                unhealthy: f64::from_bits(bits),
            },
        }
    }

    fn is_null(self) -> bool {
        self == Self::Class(ClassLabel::Null)
    }
}

/// Scales and shifts of all residual blocks, or what is added to them, and the class tokens.
#[derive(Debug)]
pub(super) struct ConditioningTables {
    format: Format,
    conditioner: Conditioner,
    /// The blocks' projections one above another: scales of all where there are any, shifts of all.
    scale: Option<Affine>,
    shift: Affine,
    /// The norms that are scaled and shifted, one after another.
    gain: Tensor,
    offset: Tensor,
    widths: Vec<i64>,
    keep: bool,
    /// Which entry of the table is whose.
    kept: HashMap<(i64, Label), i64>,
    /// Gains and offsets of all entries, `[entries, 2, channels of all blocks]`. In one piece: taken one by one, between the
    /// maps of a step, they would leave no room between them for the maps of the next.
    table: Option<Tensor>,
    tokens: HashMap<Label, Rc<LabelTokens>>,
}

impl ConditioningTables {
    /// `blocks` are the projection and the second norm of every residual block, in the order of their indices; a
    /// projection has scales and shifts if `scale_shift`.
    pub(super) fn new(
        conditioner: Conditioner,
        blocks: Vec<(Affine, GroupNorm)>,
        scale_shift: bool,
        format: Format,
        keep: bool,
    ) -> Self {
        let widths: Vec<i64> = blocks
            .iter()
            .map(|(_, norm)| norm.weight.size()[0])
            .collect();
        let half = |which: i64| {
            let pick = |tensor: &Tensor, width: i64| tensor.narrow(0, which * width, width);
            let weights: Vec<Tensor> = blocks
                .iter()
                .zip(&widths)
                .map(|((affine, _), width)| pick(&affine.weight, *width))
                .collect();
            let biases: Vec<Tensor> = blocks
                .iter()
                .zip(&widths)
                .map(|((affine, _), width)| pick(&affine.bias, *width))
                .collect();
            Affine {
                weight: Tensor::cat(&weights, 0),
                bias: Tensor::cat(&biases, 0),
            }
        };
        let gains: Vec<&Tensor> = blocks.iter().map(|(_, norm)| &norm.weight).collect();
        let offsets: Vec<&Tensor> = blocks.iter().map(|(_, norm)| &norm.bias).collect();
        Self {
            format,
            scale: scale_shift.then(|| half(0)),
            shift: half(i64::from(scale_shift)),
            gain: Tensor::cat(&gains, 0),
            offset: Tensor::cat(&offsets, 0),
            conditioner,
            widths,
            keep,
            kept: HashMap::new(),
            table: None,
            tokens: HashMap::new(),
        }
    }

    /// The modulation of every residual block at a network time: of what its second norm makes, with the norm's own, where
    /// there are scales; else of what goes into that norm, with a gain of one.
    pub(super) fn modulations(&mut self, time: i64, label: Label) -> Vec<Modulation> {
        if let (Some(at), Some(table)) = (self.kept.get(&(time, label)), &self.table) {
            return self.split(&table.get(*at));
        }
        let embedding = self.embed(time, label).vector.silu();
        // One row.
        let shift = self.shift.linear(&embedding).squeeze_dim(0);
        let made = match &self.scale {
            // As scale and shift follow the norm's own, they make one of each.
            Some(scale) => {
                let factor = scale.linear(&embedding).squeeze_dim(0) + 1.0;
                Tensor::stack(&[&self.gain * &factor, &self.offset * factor + shift], 0)
            }
            None => Tensor::stack(&[shift.ones_like(), shift], 0),
        };
        // A walk visits the times in order: dropping old ones would drop what the next batch begins with.
        let bytes = made.numel() * self.format.wide.elt_size_in_bytes();
        let most = table_bytes(made.device());
        let capacity = (most / bytes.max(1)).min(TABLE_ENTRIES);
        if self.keep && self.kept.len() < capacity {
            let next = i64::try_from(self.kept.len()).unwrap_or(0);
            let entries = i64::try_from(capacity).unwrap_or(0);
            let table = self.table.get_or_insert_with(|| {
                // Filled, so that memory is taken now and not step by step.
                Tensor::zeros([entries, 2, made.size()[1]], (made.kind(), made.device()))
            });
            table.get(next).copy_(&made);
            self.kept.insert((time, label), next);
        }
        self.split(&made)
    }

    /// An entry block by block.
    fn split(&self, entry: &Tensor) -> Vec<Modulation> {
        let (gain, offset) = (entry.get(0), entry.get(1));
        let mut first = 0;
        self.widths
            .iter()
            .map(|width| {
                let part = Modulation {
                    gain: gain.narrow(0, first, *width),
                    offset: offset.narrow(0, first, *width),
                };
                first += width;
                part
            })
            .collect()
    }

    /// The class tokens of a batch, an equal share of `rows` for each label. `virtual_tokens` are those of
    /// `blocks`; otherwise they come as the network says it.
    pub(super) fn tokens<'a>(
        &mut self,
        labels: &[Label],
        rows: i64,
        blocks: impl Iterator<Item = &'a EngineAttention> + Clone,
        virtual_tokens: bool,
    ) -> Tokens {
        if !virtual_tokens {
            return self.whole_tokens(labels, rows);
        }
        let mut parts = Vec::with_capacity(labels.len());
        for label in labels {
            if let Some(known) = self.tokens.get(label) {
                parts.push(Rc::clone(known));
                continue;
            }
            // Time does not enter the class vector.
            let Some(class) = self.embed(0, *label).tokens else {
                return Tokens::Absent;
            };
            let made = label_tokens(blocks.clone(), &class, label.is_null(), self.format);
            let made = Rc::new(made);
            if self.tokens.len() >= LABELS {
                self.tokens.clear();
            }
            self.tokens.insert(*label, Rc::clone(&made));
            parts.push(made);
        }
        Tokens::Virtual(parts)
    }

    fn whole_tokens(&self, labels: &[Label], rows: i64) -> Tokens {
        let tokens = match labels {
            [one] => self.embed(0, *one).tokens,
            _ => {
                let share = rows / i64::try_from(labels.len()).unwrap_or(1).max(1);
                let classes: Vec<Tensor> = labels
                    .iter()
                    .map(|label| {
                        let class = match label {
                            Label::Class(label) => label.index(),
                            Label::Between(_) => {
                                unreachable!("a class between two is predicted by itself")
                            }
                        };
                        Tensor::full([share], class, (Kind::Int64, self.gain.device()))
                    })
                    .collect();
                let labels = Labels::PerSample(Tensor::cat(&classes, 0));
                self.embed_labels(0, &labels).tokens
            }
        };
        tokens.map_or(Tokens::Absent, Tokens::Whole)
    }

    fn embed(&self, time: i64, label: Label) -> Conditioning {
        self.embed_labels(time, &label.labels())
    }

    fn embed_labels(&self, time: i64, labels: &Labels) -> Conditioning {
        let times = Tensor::full([1], time, (Kind::Int64, self.gain.device()));
        self.conditioner.forward(&times, labels, &mut |_, _| {})
    }
}
