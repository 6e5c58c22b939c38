//! The tensors of the input file.

use std::path::Path;

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use crate::diffusion::NoiseSource;
use crate::tensors::{self, NamedTensors};
use crate::usage::UsageError;

/// Largest input file read, bytes.
const INPUT_LIMIT: u64 = 16 << 30;

/// The tensors that matter, on the device.
pub(super) struct Inputs {
    pub(super) x0: Tensor,
    noise: Option<Tensor>,
}

impl Inputs {
    pub(super) fn read(path: &Path, device: Device) -> Result<Self> {
        let mut file: NamedTensors = tensors::read(path, INPUT_LIMIT)?;
        let mut take = |name: &str| {
            let tensor = file.remove(name)?;
            Some(tensor.to_device(device).to_kind(Kind::Float))
        };
        let x0 =
            take("x0").with_context(|| format!("{}: no tensor x0 [N, C, H, W]", path.display()))?;
        Ok(Self {
            x0,
            noise: take("noise"),
        })
    }

    pub(super) fn check(&self, channels: i64, side: i64) -> Result<(), UsageError> {
        match self.x0.size()[..] {
            [_, c, h, w] if c == channels && h == side && w == side => Ok(()),
            ref other => Err(UsageError::new(format!(
                "x0 is {other:?}, the network takes [N, {channels}, {side}, {side}]"
            ))),
        }
    }

    /// The noise of the file, else generated; slices are identified by their place in the file.
    pub(super) fn noise(&self, seed: u64) -> NoiseSource {
        match &self.noise {
            Some(bank) => NoiseSource::Given(bank.shallow_clone()),
            None => NoiseSource::Counter {
                seed,
                slices: (0..self.x0.size()[0].unsigned_abs()).collect(),
            },
        }
    }
}
