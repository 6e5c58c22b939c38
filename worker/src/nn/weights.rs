//! Checkpoint files: safetensors with the tensor names of the public implementation.

use std::path::{Path, PathBuf};

use anofpdm_common::network::{Arch, Misfit, NetworkConfig, NetworkConfigError};
use tch::nn::{self, VarStore};
use tch::{Device, Kind, Tensor};

use super::classifier::Classifier;
use super::unet::UNet;
use crate::tensors::{self, NamedTensors, TensorFileError};

/// Room for the header of a checkpoint beyond its numbers.
const HEADER_LIMIT: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("network configuration: {0}")]
    Config(#[from] NetworkConfigError),
    #[error(transparent)]
    File(#[from] TensorFileError),
    #[error("{path}: {wanted} is needed here, the configuration says arch {found}")]
    Family {
        path: PathBuf,
        wanted: &'static str,
        found: Arch,
    },
    #[error("{path}: {source}")]
    Misfit { path: PathBuf, source: Box<Misfit> },
    #[error("{path}: tensor {name} is stored as {kind:?}: only f16, bf16 and f32 weights are read")]
    StoredKind {
        path: PathBuf,
        name: String,
        kind: Kind,
    },
    #[error(
        "{path}: tensor {name} holds NaN or infinite values: the training run that wrote it has diverged"
    )]
    NotFinite { path: PathBuf, name: String },
}

/// Builds the U-Net of `config` on `device` with the weights in `path`, ready for inference
/// (no gradients).
pub fn open_unet(
    path: &Path,
    config: &NetworkConfig,
    device: Device,
) -> Result<UNet, WeightsError> {
    match config.arch {
        Arch::V2 | Arch::V1 => open(path, config, device, UNet::new),
        Arch::Classifier => Err(WeightsError::Family {
            path: path.to_owned(),
            wanted: "a U-Net (v2 or v1)",
            found: config.arch,
        }),
    }
}

/// Builds the classifier of `config` on `device` with the weights in `path`; its own weights take no
/// gradients.
pub fn open_classifier(
    path: &Path,
    config: &NetworkConfig,
    device: Device,
) -> Result<Classifier, WeightsError> {
    match config.arch {
        Arch::Classifier => open(path, config, device, Classifier::new),
        Arch::V2 | Arch::V1 => Err(WeightsError::Family {
            path: path.to_owned(),
            wanted: "a classifier",
            found: config.arch,
        }),
    }
}

fn open<T>(
    path: &Path,
    config: &NetworkConfig,
    device: Device,
    build: fn(&nn::Path<'_>, &NetworkConfig) -> T,
) -> Result<T, WeightsError> {
    config.validate()?;
    let mut vs = VarStore::new(device);
    let network = build(&vs.root(), config);
    load(&vs, path, config)?;
    vs.freeze();
    Ok(network)
}

/// Fills a network with the weights in `path`. Every tensor must be there with its shape and no
/// other; f16 and bf16 are cast exactly to f32.
///
/// # Errors
/// Names the first tensor that does not fit, both shapes and the likely cause. The network is then
/// unchanged.
pub fn load(vs: &VarStore, path: &Path, config: &NetworkConfig) -> Result<(), WeightsError> {
    let wanted = variables(vs);
    let numbers: usize = wanted.values().map(Tensor::numel).sum();
    let limit = HEADER_LIMIT + 4 * numbers as u64 * 4;
    let stored = tensors::read(path, limit)?;
    check(path, &stored, config)?;
    tch::no_grad(|| {
        for (name, mut variable) in wanted {
            if let Some(weights) = stored.get(&name) {
                variable.copy_(weights);
            }
        }
    });
    Ok(())
}

/// Writes all tensors of a network as f32, whole or not at all.
pub fn save(vs: &VarStore, path: &Path) -> Result<(), WeightsError> {
    let weights = variables(vs)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.detach().to_kind(Kind::Float)))
        .collect();
    Ok(tensors::write(path, &weights)?)
}

/// The tensors of a network in name order (the store's own order changes from run to run).
pub fn variables(vs: &VarStore) -> NamedTensors {
    vs.variables().into_iter().collect()
}

/// Checks that `stored` holds the tensors of `config` in their shapes, no other, as finite floats.
pub fn check(
    path: &Path,
    stored: &NamedTensors,
    config: &NetworkConfig,
) -> Result<(), WeightsError> {
    let sides = |tensor: &Tensor| tensor.size().iter().map(|side| *side as usize).collect();
    let shapes = stored
        .iter()
        .map(|(name, tensor)| (name.clone(), sides(tensor)));
    config
        .fit(&shapes.collect(), "configuration")
        .map_err(|source| WeightsError::Misfit {
            path: path.to_owned(),
            source,
        })?;
    for (name, tensor) in stored {
        if !matches!(tensor.kind(), Kind::Half | Kind::BFloat16 | Kind::Float) {
            return Err(WeightsError::StoredKind {
                path: path.to_owned(),
                name: name.clone(),
                kind: tensor.kind(),
            });
        }
        if tensor.isfinite().all().int64_value(&[]) == 0 {
            return Err(WeightsError::NotFinite {
                path: path.to_owned(),
                name: name.clone(),
            });
        }
    }
    Ok(())
}
