//! The U-Nets v2 and v1: predict the noise in x_t given time and class label.
//!
//! Layers and names are those of the public checkpoints. v2 is the network of AnoFPDM. Two quirks
//! of its weights are kept: no SiLU before the first convolution of a residual block, and none
//! before the last convolution of the network. v1, the network of the baselines, has both SiLUs and no class tokens.

use anofpdm_common::network::NetworkConfig;
use tch::Tensor;
use tch::nn::Path;

use super::attention::Attention;
use super::conditioner::Conditioner;
use super::embedding::Labels;
use super::init::Affine;
use super::mode::{Mode, Module};
use super::norm::GroupNorm;
use super::recompute;
use super::resblock::ResBlock;
use super::trunk::{Features, Grow, Layers, Trunk};

/// The noise predictor epsilon(x_t, t, y).
#[derive(Debug)]
pub struct UNet {
    pub(crate) image_size: i64,
    pub(crate) conditioner: Conditioner,
    pub(crate) trunk: Trunk,
    pub(crate) up: Vec<UpEntry>,
    pub(crate) out_norm: GroupNorm,
    pub(crate) out_silu: bool,
    pub(crate) out_conv: Affine,
}

/// One entry of `output_blocks`.
#[derive(Debug)]
pub(crate) struct UpEntry {
    pub(crate) block: ResBlock,
    pub(crate) attention: Option<Attention>,
    pub(crate) grow: Option<Grow>,
}

impl UNet {
    /// Builds the network under `vs` with fresh weights. `config` must be that of a U-Net and must
    /// have passed [`NetworkConfig::validate`].
    pub fn new(vs: &Path<'_>, config: &NetworkConfig) -> Self {
        let base = config.num_channels;
        let layers = Layers::of(config);
        let (trunk, mut skips) = Trunk::new(vs, config, &layers);
        let widths = config.level_channels();
        let mut channels = widths.last().copied().unwrap_or(base);

        let output = vs / "output_blocks";
        let mut up = Vec::new();
        for (level, &width) in widths.iter().enumerate().rev() {
            for index in 0..=config.num_res_blocks {
                let entry = &output / up.len();
                let skip = skips.pop().unwrap_or(base);
                let block = layers.block(&(&entry / "0"), channels + skip, width);
                channels = width;
                let attention = config
                    .attends(level)
                    .then(|| layers.attention(&(&entry / "1"), channels));
                let next = if attention.is_some() { "2" } else { "1" };
                let grow = (level > 0 && index == config.num_res_blocks)
                    .then(|| layers.grow(&(&entry / next), channels));
                up.push(UpEntry {
                    block,
                    attention,
                    grow,
                });
            }
        }

        // Made last: fresh weights are drawn in this order.
        let conditioner = Conditioner::new(vs, config);
        let out = vs / "out";
        Self {
            image_size: config.image_size,
            conditioner,
            trunk,
            up,
            out_norm: GroupNorm::new(&(&out / "0"), channels),
            out_silu: layers.silus,
            out_conv: Affine::zero(&(out / "2"), &[config.output_channels(), channels, 3, 3]),
        }
    }

    /// Noise predicted in `x` (`[N, C, H, W]`) at network times `t` (i64 `[N]`), same shape as `x`.
    /// A network with learned variance adds C channels of variance values after those of the noise.
    /// A network without labels ignores `labels`.
    pub fn forward(&self, x: &Tensor, t: &Tensor, labels: &Labels, mode: Mode<'_>) -> Tensor {
        self.forward_observed(x, t, labels, mode, &mut |_, _| {})
    }

    /// [`UNet::forward`] that shows the output of every module to `observe`.
    pub fn forward_observed(
        &self,
        x: &Tensor,
        t: &Tensor,
        labels: &Labels,
        mode: Mode<'_>,
        observe: &mut dyn FnMut(Module, &Tensor),
    ) -> Tensor {
        let conditioning = self.conditioner.forward(t, labels, observe);
        let Features {
            deepest: mut hidden,
            skips,
        } = self.trunk.forward(x, &conditioning, mode, observe);

        // `new` makes exactly one up entry for every skip.
        let (vector, tokens) = (&conditioning.vector, conditioning.tokens.as_ref());
        for (index, (entry, skip)) in self.up.iter().zip(skips.into_iter().rev()).enumerate() {
            hidden = recompute::residual(&entry.block, &[&hidden, &skip], vector, mode);
            if let Some(attention) = &entry.attention {
                hidden = recompute::attention(attention, &hidden, tokens, mode);
            }
            if let Some(grow) = &entry.grow {
                hidden = grow.forward(&hidden, vector, mode);
            }
            observe(Module::Output(index), &hidden);
        }

        let normed = self.out_norm.forward(&hidden);
        let activated = if self.out_silu { normed.silu() } else { normed };
        self.out_conv.conv(&activated, 1)
    }
}
