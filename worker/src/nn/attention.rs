//! Self-attention over the feature map, in v2 with class tokens as extra keys and values.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::embedding::ClassVector;
use super::init::Affine;
use super::norm::{GroupNorm, statistics_kind};

/// GroupNorm, 1x1 qkv, softmax over class tokens and positions, 1x1 projection, residual.
///
/// Channel layout: per head `[q | k | v]` in `qkv`, `[k | v]` in `encoder_kv`. Query and key are
/// each scaled by `d^(-1/4)`; the softmax is computed in float32 at least.
#[derive(Debug)]
pub struct Attention {
    pub(crate) heads: i64,
    pub(crate) norm: GroupNorm,
    pub(crate) qkv: Affine,
    /// Keys and values of class tokens; only v2 has them.
    pub(crate) class_kv: Option<Affine>,
    pub(crate) projection: Affine,
}

/// Keys or values of the class tokens of one block: token j is `c_j slope + offset`.
struct TokenLine {
    /// Rows `slope` and `offset`, `[1 or N, heads, 2, d]`.
    basis: Tensor,
}

impl Attention {
    /// `class_width` is E where the block attends to class tokens. The projection starts at zero.
    pub fn new(vs: &Path<'_>, channels: i64, class_width: Option<i64>, heads: i64) -> Self {
        Self {
            heads,
            norm: GroupNorm::new(&(vs / "norm"), channels),
            qkv: Affine::uniform(&(vs / "qkv"), &[3 * channels, channels, 1]),
            class_kv: class_width
                .map(|width| Affine::uniform(&(vs / "encoder_kv"), &[2 * channels, width, 1])),
            projection: Affine::zero(&(vs / "proj_out"), &[channels, channels, 1]),
        }
    }

    /// Another handle of the same weights.
    pub(super) fn shared(&self) -> Self {
        Self {
            heads: self.heads,
            norm: self.norm.shared(),
            qkv: self.qkv.shared(),
            class_kv: self.class_kv.as_ref().map(Affine::shared),
            projection: self.projection.shared(),
        }
    }

    /// The weights that [`forward`](Self::forward) uses, with class tokens or without.
    pub(super) fn parameters(&self, class: bool) -> Vec<&Tensor> {
        [&self.qkv, &self.projection]
            .into_iter()
            .chain(self.class_kv.as_ref().filter(|_| class))
            .flat_map(Affine::parameters)
            .chain(self.norm.parameters())
            .collect()
    }

    /// `x` is `[N, C, H, W]`; `class` counts only where the block was built for class tokens.
    pub fn forward(&self, x: &Tensor, class: Option<&ClassVector>) -> Tensor {
        let (n, channels, height, width) = match x.size()[..] {
            [n, c, h, w] => (n, c, h, w),
            ref other => panic!("attention input must be [N, C, H, W], not {other:?}: a bug"),
        };
        let positions = height * width;
        let head = channels / self.heads;
        #[allow(clippy::cast_precision_loss)] // head widths are small
        let scale = (head as f64).powf(-0.25);

        let flat = x.reshape([n, channels, positions]);
        let qkv = self
            .qkv
            .pointwise(&self.norm.forward(&flat))
            .view([n, self.heads, 3 * head, positions])
            .chunk(3, 2);
        let query = (&qkv[0] * scale).transpose(2, 3);
        let key = &qkv[1] * scale;
        let value = qkv[2].transpose(2, 3);
        let mixed = match (&self.class_kv, class) {
            (Some(class_kv), Some(class)) => {
                mix_with_class(&query, &key, &value, class_kv, class, scale)
            }
            _ => softmax(&query.matmul(&key), x.kind()).matmul(&value),
        };

        let mixed = mixed.transpose(2, 3).reshape([n, channels, positions]);
        let out = flat + self.projection.pointwise(&mixed);
        out.view([n, channels, height, width])
    }
}

/// Attention to class tokens and positions under one softmax, `[N, heads, L, d]`. `query` and `key`
/// are scaled.
///
/// The class tokens lie on a line, `W (c c_j) + b = c_j (W c) + b`, so neither the E x E outer
/// product nor its projection is formed: a query's logit on token j needs only its products
/// with W c and b, and the tokens' mean value only the mean of c_j.
fn mix_with_class(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    class_kv: &Affine,
    class: &ClassVector,
    scale: f64,
) -> Tensor {
    let (heads, positions, head) = (query.size()[1], query.size()[2], query.size()[3]);
    let (class_keys, class_values) = class_tokens(class_kv, class, heads, head);
    // Rows c_j and 1: the coordinates of the tokens on their line, [1 or N, 1, 2, S].
    let factors = class.factors.unsqueeze(1);
    let coordinates = Tensor::stack(&[&factors, &factors.ones_like()], 2);

    let class_logits = query
        .matmul(&(class_keys.basis * scale).transpose(2, 3))
        .matmul(&coordinates)
        + class.log_weight;
    let logits = Tensor::cat(&[class_logits, query.matmul(key)], 3);
    let weights = softmax(&logits, value.kind());
    let tokens = coordinates.size()[3];
    let class_weights = weights.narrow(3, 0, tokens);
    let weights = weights.narrow(3, tokens, positions);
    weights.matmul(value)
        + class_weights
            .matmul(&coordinates.transpose(2, 3))
            .matmul(&class_values.basis)
}

fn class_tokens(
    class_kv: &Affine,
    class: &ClassVector,
    heads: i64,
    head: i64,
) -> (TokenLine, TokenLine) {
    let slope = class
        .vector
        .matmul(&class_kv.weight.squeeze_dim(2).transpose(0, 1));
    let offset = class_kv.bias.unsqueeze(0).expand_as(&slope);
    let basis = Tensor::stack(&[slope, offset], 1)
        .view([-1, 2, heads, 2 * head])
        .transpose(1, 2);
    let keys = basis.narrow(3, 0, head);
    let values = basis.narrow(3, head, head);
    (TokenLine { basis: keys }, TokenLine { basis: values })
}

/// Softmax over the last axis, computed in float32 at least.
pub(crate) fn softmax(logits: &Tensor, kind: Kind) -> Tensor {
    logits.softmax(-1, statistics_kind(kind)).to_kind(kind)
}
