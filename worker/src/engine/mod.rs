//! Fast inference: the networks' functions, computed with less.
//!
//! Everything here is exact in real arithmetic and held against the plain networks of [`crate::nn`] by tests.
//!
//! | module | concept |
//! |---|---|
//! | [`savings`] | which savings are made |
//! | [`network`] | the U-Net as an engine runs it |
//! | [`precision`] | what the engine computes in |
//! | `layout` | number format and memory order of maps |
//! | `conditioning` | scales, shifts and class tokens, once a time and label |
//! | `block` | the residual block |
//! | `norm` | GroupNorm and what follows it |
//! | `norm_kernel` | the same in two passes over memory, on the CPU |
//! | `conv` | convolutions |
//! | `winograd` | 3x3 convolutions with fewer multiplications |
//! | `upsample` | doubling and convolution as four phases |
//! | `attention` | self-attention and the virtual class token |
//! | `sdpa` | attention in tiles that says the sum of weights |
//! | `class_token` | the token's logit and value |
//! | `comparison` | what replaces operations of libtorch on a GPU is compared first |

mod attention;
mod block;
mod class_token;
mod comparison;
mod conditioning;
mod conv;
mod layout;
pub mod network;
mod norm;
mod norm_kernel;
pub mod precision;
pub mod savings;
mod sdpa;
mod upsample;
mod winograd;

#[cfg(test)]
mod tests;

use std::path::Path;

use anofpdm_common::network::NetworkConfig;
use tch::{Device, Kind};

use crate::nn::weights::{self, WeightsError};

pub use network::Engine;
pub use savings::Savings;

/// Opens the U-Net of `config` on `device` with the weights in `path`, as scoring uses it, with convolutions and
/// products in `kind` ([`precision::set`]).
///
/// # Errors
/// When the configuration or the file does not fit.
pub fn open(
    path: &Path,
    config: &NetworkConfig,
    device: Device,
    kind: Kind,
) -> Result<Engine, WeightsError> {
    let network = weights::open_unet(path, config, device)?;
    Ok(Engine::new(network, kind, Savings::on(device)))
}
