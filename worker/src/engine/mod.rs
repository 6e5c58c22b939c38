//! Fast inference: the networks' functions, computed with less.
//!
//! Everything here is exact in real arithmetic and held against the plain networks of [`crate::nn`] by tests.

mod attention;
mod block;
mod class_token;
mod comparison;
mod conditioning;
mod conv;
mod layout;
pub mod network;
mod norm;
pub mod optimizations;
pub mod precision;
mod sdpa;
mod upsample;
mod winograd;

#[cfg(test)]
mod tests;

use std::path::Path;

use anofpdm_common::network::NetworkConfig;
use tch::{Device, Kind};

use crate::nn::weights::{self, WeightsError};

pub use comparison::Compared;
pub use network::Engine;
pub use optimizations::Optimizations;

/// Widths of attention heads that published networks have.
const HEADS: [i64; 4] = [32, 64, 96, 128];

/// Every operation of our own that engines on `device` use in place of libtorch's, beside libtorch's.
pub fn own_operations(device: Device) -> Vec<Compared> {
    tch::no_grad(|| {
        let mut all = norm::comparisons(device);
        all.extend(conv::comparisons(device));
        for (kind, _) in comparison::KINDS {
            if device == Device::Cpu && kind == Kind::Half {
                continue;
            }
            for head in HEADS {
                all.extend(sdpa::comparisons(device, kind, head));
            }
        }
        all
    })
}

/// Opens the U-Net of `config` on `device` with the weights in `path`, as scoring uses it, with convolutions and
/// products in `kind` ([`precision::set`]).
pub fn open(
    path: &Path,
    config: &NetworkConfig,
    device: Device,
    kind: Kind,
) -> Result<Engine, WeightsError> {
    let network = weights::open_unet(path, config, device)?;
    Ok(Engine::new(network, kind, Optimizations::on(device)))
}
