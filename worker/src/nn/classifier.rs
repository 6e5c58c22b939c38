//! The classifier of noised slices: half a v1 U-Net with an attention pool.

use anofpdm_common::network::NetworkConfig;
use tch::nn::Path;
use tch::{Kind, Tensor};

use super::conditioner::Conditioning;
use super::embedding::{ClassLabel, TimeEmbedding};
use super::mode::Mode;
use super::norm::GroupNorm;
use super::pool::AttentionPool;
use super::trunk::{Layers, Trunk};

/// Class logits of x_t at time t.
#[derive(Debug)]
pub struct Classifier {
    time: TimeEmbedding,
    trunk: Trunk,
    out_norm: GroupNorm,
    pool: AttentionPool,
}

/// log p(label | x_t) and where it grows.
#[derive(Debug)]
pub struct LabelGradient {
    /// Natural logarithm of the probability, f32 `[N]`.
    pub log_probability: Tensor,
    /// Its gradient with respect to x_t, f32 `[N, C, H, W]`.
    pub gradient: Tensor,
}

impl Classifier {
    /// Builds the network under `vs` with fresh weights. `config` must be that of a classifier and
    /// must have passed [`NetworkConfig::validate`].
    pub fn new(vs: &Path<'_>, config: &NetworkConfig) -> Self {
        let base = config.num_channels;
        let widths = config.level_channels();
        let channels = widths.last().copied().unwrap_or(base);
        let (trunk, _) = Trunk::new(vs, config, &Layers::of(config));
        let out = vs / "out";
        Self {
            time: TimeEmbedding::new(vs, base, config.embedding_width()),
            trunk,
            out_norm: GroupNorm::new(&(&out / "0"), channels),
            pool: AttentionPool::new(
                &(out / "2"),
                channels,
                config.image_size >> (widths.len() - 1),
                config.heads.of(channels).unwrap_or(1),
                config.output_channels(),
            ),
        }
    }

    /// `x` is `[N, C, H, W]`, `t` i64 `[N]`; logits `[N, classes]`.
    pub fn forward(&self, x: &Tensor, t: &Tensor, mode: Mode<'_>) -> Tensor {
        let conditioning = Conditioning {
            vector: self.time.forward(t),
            tokens: None,
        };
        let features = self.trunk.forward(x, &conditioning, mode, &mut |_, _| {});
        self.pool
            .forward(&self.out_norm.forward(&features.deepest).silu())
    }

    /// log p(`label` | x) and its gradient with respect to `x` (`[N, C, H, W]`), at one network
    /// time for the whole batch. Gradients of the samples do not mix: they enter one sum. `label`
    /// must be a class, not null.
    pub fn label_gradient(
        &self,
        x: &Tensor,
        network_time: i64,
        label: ClassLabel,
    ) -> LabelGradient {
        let batch = x.size().first().copied().unwrap_or(0);
        let times = Tensor::full([batch], network_time, (Kind::Int64, x.device()));
        tch::with_grad(|| {
            let x = x.detach().to_kind(Kind::Float).set_requires_grad(true);
            let logits = self.forward(&x, &times, Mode::Eval);
            let log_probability = logits.log_softmax(-1, Kind::Float).select(1, label.index());
            let total = log_probability.sum(Kind::Float);
            let gradient = Tensor::run_backward(&[total], &[&x], false, false).swap_remove(0);
            LabelGradient {
                log_probability: log_probability.detach(),
                gradient,
            }
        })
    }
}
