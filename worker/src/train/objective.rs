//! What a step minimises: decided by what the network is for.

use anofpdm_common::network::NetworkConfig;
use anofpdm_common::role::Role;
use tch::nn::Path;
use tch::{Device, Reduction, Tensor};

use super::noising::Noised;
use super::variance::VarianceBound;
use crate::diffusion::schedule::Schedule;
use crate::nn::{Classifier, Labels, Mode, UNet};

/// A network in training and the loss it is trained on.
#[derive(Debug)]
pub(super) enum Objective {
    /// Mean squared error of the predicted noise (Eq. 5).
    Noise(UNet),
    /// The same, and the variational bound for the learned variance beside it: the hybrid loss of
    /// Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), Eq. 16.
    NoiseAndVariance(UNet, VarianceBound),
    /// Cross-entropy of the image-level label of a noised slice (Dhariwal & Nichol, "Diffusion
    /// Models Beat GANs on Image Synthesis", 2021, section 4.1).
    Label(Classifier),
}

impl Objective {
    /// The network of `role` under `vs`, with fresh weights; the tables of its loss on `device`.
    pub(super) fn new(
        role: Role,
        vs: &Path<'_>,
        config: &NetworkConfig,
        schedule: &Schedule,
        device: Device,
    ) -> Self {
        match role {
            Role::Guided | Role::HealthyGaussian | Role::HealthySimplex => {
                Self::Noise(UNet::new(vs, config))
            }
            Role::Conditional => {
                Self::NoiseAndVariance(UNet::new(vs, config), VarianceBound::new(schedule, device))
            }
            Role::Classifier => Self::Label(Classifier::new(vs, config)),
        }
    }

    /// The U-Net; a classifier has none.
    pub(super) const fn unet(&self) -> Option<&UNet> {
        match self {
            Self::Noise(unet) | Self::NoiseAndVariance(unet, _) => Some(unet),
            Self::Label(_) => None,
        }
    }

    /// The loss of a batch, a scalar.
    pub(super) fn loss(&self, batch: &Noised, mode: Mode<'_>) -> Tensor {
        // The loss of a lower precision's output is not computed in it.
        let kind = batch.noise.kind();
        let labels = || Labels::PerSample(batch.labels.shallow_clone());
        match self {
            Self::Noise(unet) => unet
                .forward(&batch.x_t, &batch.times, &labels(), mode)
                .to_kind(kind)
                .mse_loss(&batch.noise, Reduction::Mean),
            Self::NoiseAndVariance(unet, bound) => {
                let output = unet
                    .forward(&batch.x_t, &batch.times, &labels(), mode)
                    .to_kind(kind);
                bound.hybrid_loss(&output, batch)
            }
            Self::Label(classifier) => classifier
                .forward(&batch.x_t, &batch.times, mode)
                .to_kind(kind)
                .cross_entropy_for_logits(&batch.labels),
        }
    }
}
