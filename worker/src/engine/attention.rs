//! Self-attention over the positions of a map, with the class tokens of v2 as one virtual token.
//!
//! Self-attention yields its result and the logarithm of its sum of weights; the virtual token then enters as a
//! mixture of the two, so that both are under one softmax.

use std::rc::Rc;

use tch::{Kind, Tensor};

use super::class_token::{Kappa, null_kappa, scaled_factors};
use super::layout::{Format, add_rows, map_like, positions};
use super::norm::{Modulation, Norm, own_modulation};
use super::optimizations::Optimizations;
use super::precision::exactly;
use super::sdpa::{self, scale};
use crate::nn::attention as plain;
use crate::nn::embedding::ClassVector;
use crate::nn::init::Affine;

/// What the attention blocks know of one label.
#[derive(Debug)]
pub(super) enum LabelTokens {
    /// All tokens are the offset: kappa is ln E.
    Null { kappa: f64 },
    /// Tokens along a line; one slope a block.
    Line { kappa: Kappa, slopes: Vec<Slope> },
}

/// The slope of the class tokens of one block.
#[derive(Debug)]
pub(super) struct Slope {
    /// From a normed position to s, `[heads, C]` and `[heads]`.
    product: (Tensor, Tensor),
    /// In the values, `[heads, d]`.
    value: Tensor,
}

/// The offset of the class tokens of one block, whatever the label.
#[derive(Debug)]
struct Offset {
    /// From a normed position to g, `[heads, C]` and `[heads]`.
    product: (Tensor, Tensor),
    /// In the values, `[heads, d]`.
    value: Tensor,
    /// `encoder_kv`, for the slopes of a label: `[2 C, E]`.
    class_kv: Tensor,
}

/// Class tokens for an evaluation.
#[derive(Debug)]
pub(super) enum Tokens {
    /// None (v1).
    Absent,
    /// One virtual token; an entry serves an equal share of the rows.
    Virtual(Vec<Rc<LabelTokens>>),
    /// As the network says it, a vector for all rows or one a row.
    Whole(ClassVector),
}

/// One attention block.
#[derive(Debug)]
pub(super) struct EngineAttention {
    format: Format,
    norm: Norm,
    modulation: Modulation,
    heads: i64,
    flash: bool,
    /// `[3 C, C]`, `[3 C]`
    qkv: (Tensor, Tensor),
    projection: (Tensor, Tensor),
    offset: Option<Offset>,
    /// What is used where class tokens are taken as they are.
    whole: Option<plain::Attention>,
    /// Where among the slopes of a label its own is.
    index: usize,
}

impl EngineAttention {
    /// `index` counts the blocks of a network.
    pub(super) fn new(
        block: plain::Attention,
        format: Format,
        optimizations: Optimizations,
        index: usize,
    ) -> Self {
        let linear = |affine: &Affine, kind: Kind| {
            (
                affine.weight.squeeze_dim(2).to_kind(kind),
                affine.bias.to_kind(kind),
            )
        };
        let qkv = linear(&block.qkv, format.kind);
        let offset = block.class_kv.as_ref().map(|class_kv| {
            let (class_kv, bias) = linear(class_kv, format.wide);
            let [key, value] = keys_and_values(&bias, block.heads);
            Offset {
                product: query_product(&qkv, format.wide, &key),
                value,
                class_kv,
            }
        });
        let keep_whole = offset.is_some() && !optimizations.contains(Optimizations::CLASS_TOKEN);
        let head = qkv.0.size()[0] / (3 * block.heads.max(1));
        Self {
            format,
            norm: Norm::new(format, optimizations.contains(Optimizations::FUSED_NORM)),
            modulation: own_modulation(&block.norm, format),
            heads: block.heads,
            flash: optimizations.contains(Optimizations::FLASH)
                && sdpa::is_on(qkv.0.device(), format.kind, head),
            qkv,
            projection: linear(&block.projection, format.kind),
            offset,
            whole: keep_whole.then_some(block),
            index,
        }
    }

    /// What a label with class vector `vector` (`[E]`, wide) means to this block; `scale` as of [`scaled_factors`].
    /// `None` where it has no class tokens.
    fn slope(&self, vector: &Tensor, scale: f64) -> Option<Slope> {
        let offset = self.offset.as_ref()?;
        let line = offset.class_kv.mv(vector) * scale;
        let [key, value] = keys_and_values(&line, self.heads);
        Some(Slope {
            product: query_product(&self.qkv, self.format.wide, &key),
            value,
        })
    }

    /// `[N, C, H, W]` to the same.
    pub(super) fn forward(&self, x: Tensor, tokens: &Tokens) -> Tensor {
        if let (Some(whole), Tokens::Whole(class)) = (&self.whole, tokens) {
            let out = whole.forward(&x.to_kind(self.format.wide), Some(class));
            return self.format.order(&out.to_kind(self.format.kind));
        }
        let rows = x.size()[0];
        let modulation = std::slice::from_ref(&self.modulation);
        let normed = positions(&self.norm.forward(&[&x], rows, modulation));
        let (weight, bias) = &self.qkv;
        // [N, L, heads, 3, d] to three of [N, heads, L, d], without a copy.
        let parts = normed
            .linear(weight, Some(bias))
            .unflatten(2, [self.heads, 3, -1]);
        let [query, key, value] = [0, 1, 2].map(|part| parts.select(3, part).transpose(1, 2));
        let token = exactly(normed.device(), || self.virtual_token(&normed, tokens));
        let (wide, token) = (self.format.wide, token.as_ref());
        let mixed = self
            .flash
            .then(|| flash(&query, &key, &value, wide, token))
            .flatten()
            .unwrap_or_else(|| explicit(&query, &key, &value, wide, token));
        let (weight, bias) = &self.projection;
        let mixed = mixed.to_kind(self.format.kind).flatten(2, 3);
        let out = map_like(&mixed.linear(weight, Some(bias)), &x);
        add_rows(x, &out)
    }

    fn virtual_token<'a>(
        &'a self,
        normed: &Tensor,
        tokens: &'a Tokens,
    ) -> Option<VirtualToken<'a>> {
        let (Some(offset), Tokens::Virtual(labels)) = (&self.offset, tokens) else {
            return None;
        };
        let normed = normed.to_kind(self.format.wide);
        let (weight, bias) = &offset.product;
        let logit = normed.linear(weight, Some(bias));
        let share = normed.size()[0] / i64::try_from(labels.len()).unwrap_or(1).max(1);
        let mut lines = Vec::new();
        for (label, part) in labels.iter().zip(0_i64..) {
            let first = part * share;
            let mut logit = logit.narrow(0, first, share);
            match &**label {
                LabelTokens::Null { kappa } => drop(logit.g_add_scalar_(*kappa)),
                LabelTokens::Line { kappa, slopes } => {
                    let slope = slopes.get(self.index)?;
                    let (weight, bias) = &slope.product;
                    let s = normed.narrow(0, first, share).linear(weight, Some(bias));
                    let (kappa, derivative) = kappa.of(&s);
                    drop(logit.g_add_(&kappa));
                    lines.push(Line {
                        first,
                        derivative,
                        value: &slope.value,
                    });
                }
            }
        }
        Some(VirtualToken {
            logit,
            offset: &offset.value,
            lines,
        })
    }
}

/// The slopes of a label in all blocks of a network, in the order of their indices. `class` is its class vector,
/// `[1, E]`; `null` says that it is that of the null label.
pub(super) fn label_tokens<'a>(
    blocks: impl Iterator<Item = &'a EngineAttention>,
    class: &ClassVector,
    null: bool,
    format: Format,
) -> LabelTokens {
    let vector = class.vector.to_kind(format.wide).squeeze_dim(0);
    if null {
        return LabelTokens::Null {
            kappa: null_kappa(vector.size()[0]),
        };
    }
    let (factors, scale) = scaled_factors(&vector);
    LabelTokens::Line {
        // In float64 the engine is held against the plain network to rounding.
        kappa: Kappa::new(&factors, format.wide != Kind::Double),
        slopes: blocks
            .filter_map(|block| block.slope(&vector, scale))
            .collect(),
    }
}

/// The virtual token as all queries see it.
struct VirtualToken<'a> {
    /// `[N, L, heads]`
    logit: Tensor,
    /// `[heads, d]`
    offset: &'a Tensor,
    lines: Vec<Line<'a>>,
}

/// The part of the rows whose class tokens have a slope.
struct Line<'a> {
    first: i64,
    /// kappa'(s), `[rows, L, heads]`
    derivative: Tensor,
    /// `[heads, d]`
    value: &'a Tensor,
}

impl VirtualToken<'_> {
    /// Adds the slopes' part of the token's value; `share` is its weight, `[N, L, heads]`.
    fn add_slopes(&self, mixed: &Tensor, share: &Tensor) {
        for line in &self.lines {
            let rows = line.derivative.size()[0];
            let weight = share.narrow(0, line.first, rows) * &line.derivative;
            drop(
                mixed
                    .narrow(0, line.first, rows)
                    .addcmul_(&weight.unsqueeze(-1), line.value),
            );
        }
    }
}

/// `[N, heads, L, d]` each; the result `[N, L, heads, d]` in the wide kind.
fn flash(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    wide: Kind,
    token: Option<&VirtualToken<'_>>,
) -> Option<Tensor> {
    let (out, log_sum) = sdpa::attend(query, key, value)
        .map_err(|error| tracing::error!(%error, "attention falls back on the matrix of weights"))
        .ok()?;
    let out = out.transpose(1, 2).to_kind(wide);
    let Some(token) = token else {
        return Some(out);
    };
    let share = (&token.logit - log_sum.transpose(1, 2)).sigmoid();
    let mixed = out.lerp_tensor(token.offset, &share.unsqueeze(-1));
    token.add_slopes(&mixed, &share);
    Some(mixed)
}

/// The same with the matrix of weights.
fn explicit(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    wide: Kind,
    token: Option<&VirtualToken<'_>>,
) -> Tensor {
    let (positions, head) = (query.size()[2], query.size()[3]);
    let logits = query.matmul(&key.transpose(2, 3)).to_kind(wide) * scale(head);
    let Some(token) = token else {
        let weights = logits.softmax(-1, wide).to_kind(value.kind());
        return weights.matmul(value).transpose(1, 2).to_kind(wide);
    };
    let column = token.logit.transpose(1, 2).unsqueeze(-1);
    let weights = Tensor::cat(&[&logits, &column], 3).softmax(-1, wide);
    let own = weights.narrow(3, 0, positions).to_kind(value.kind());
    let share = weights.select(3, positions).transpose(1, 2);
    let mixed = own.matmul(value).transpose(1, 2).to_kind(wide);
    let mixed = mixed.addcmul(&share.unsqueeze(-1), token.offset);
    token.add_slopes(&mixed, &share);
    mixed
}

/// `[2 C]`, per head `[k | v]`, as keys and values, each `[heads, d]`.
fn keys_and_values(both: &Tensor, heads: i64) -> [Tensor; 2] {
    let both = both.view([heads, 2, -1]);
    [
        both.select(1, 0).contiguous(),
        both.select(1, 1).contiguous(),
    ]
}

/// The map from a normed position to the scaled product of its query with `key` (`[heads, d]`): `[heads, C]` and
/// `[heads]`.
fn query_product(qkv: &(Tensor, Tensor), wide: Kind, key: &Tensor) -> (Tensor, Tensor) {
    let (heads, head) = (key.size()[0], key.size()[1]);
    let key = key * scale(head);
    let (weight, bias) = qkv;
    let query = weight.to_kind(wide).view([heads, 3, head, -1]).select(1, 0);
    let query_bias = bias.to_kind(wide).view([heads, 3, head]).select(1, 0);
    (
        (query * key.unsqueeze(-1)).sum_dim_intlist(1, false, wide),
        (query_bias * key).sum_dim_intlist(1, false, wide),
    )
}
