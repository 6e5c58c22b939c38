//! `anofpdm-worker import`: a checkpoint of the public code becomes safetensors and a configuration.

pub mod args;
mod checkpoint;
pub mod gate;
mod infer;
mod output;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anofpdm_common::network::{Arch, Heads, NetworkConfig, NetworkConfigError};
use anofpdm_common::store::durable::DiskError;

use crate::nn::config::{self, ConfigFileError};
use crate::nn::weights::{self, WeightsError};
use crate::tensors::TensorFileError;
use args::ImportArgs;
use checkpoint::{Checkpoint, Weights};
use infer::Said;
use output::Destination;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {bytes} bytes, at most {limit} are read: is this the right file?")]
    TooLarge {
        path: PathBuf,
        bytes: u64,
        limit: u64,
    },
    #[error("{path}: {refusal}")]
    Refused {
        path: PathBuf,
        refusal: gate::Refusal,
    },
    #[error("{path}: {source}")]
    Reader {
        path: PathBuf,
        source: Box<pytorch_reader::PytorchError>,
    },
    #[error(
        "{path}: none of its {tensors} tensors is the input_blocks.0.0.weight{key} that every network of this \
         family begins with{}",
        if places.is_empty() { String::new() } else { format!("; weights stand under: {places} (choose with --key)") }
    )]
    NoNetwork {
        path: PathBuf,
        /// ` under 'KEY'`, or nothing.
        key: String,
        tensors: usize,
        places: String,
    },
    #[error("{path}: its tensors claim {claimed} bytes, the file has {bytes}")]
    Inflated {
        path: PathBuf,
        claimed: u64,
        bytes: u64,
    },
    #[error(
        "{path}: tensor {name} is stored as {kind}: only f64, f32, f16 and bf16 weights are read"
    )]
    StoredKind {
        path: PathBuf,
        name: String,
        kind: String,
    },
    #[error("{path}: tensor {name}: {reason}")]
    Tensor {
        path: PathBuf,
        name: String,
        reason: String,
    },
    #[error("{path}: {reason}")]
    Architecture { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Network {
        path: PathBuf,
        source: NetworkConfigError,
    },
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Output(#[from] TensorFileError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0}: the weights are written as safetensors: name a file that ends in .safetensors")]
    OutputName(PathBuf),
    #[error("{} is a folder: name a file in it, such as {}", .0.display(), .0.join("weights.safetensors").display())]
    OutputFolder(PathBuf),
    #[error("{0} is read here and cannot be written: give -o another file")]
    OverInput(PathBuf),
    #[error("{0} holds other weights: give -o another file, or --force to replace them")]
    Exists(PathBuf),
    #[error(
        "{} describes another network: weights and their config.json need a folder of their own, such as \
         -o {}; --force replaces it", .0.display(), .0.with_file_name("NETWORK/weights.safetensors").display()
    )]
    Occupied(PathBuf),
}

#[derive(Debug)]
pub struct Imported {
    /// The architecture, as in the written `config.json`.
    pub config: NetworkConfig,
    pub config_file: PathBuf,
    pub numbers: u64,
    /// What to know before using them.
    pub warnings: Vec<String>,
}

/// Imports, and says what.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    // Unhandled, a file-size limit would kill the process instead of failing the write.
    signal_hook::flag::register(
        signal_hook::consts::SIGXFSZ,
        Arc::new(AtomicBool::new(false)),
    )?;
    let imported = import(args)?;
    for warning in &imported.warnings {
        eprintln!("warning: {warning}");
    }
    let config = &imported.config;
    println!(
        "{}: {} network, {} channels of {} pixels, {} weights, {}\n{}",
        args.output.display(),
        config.arch,
        config.in_channels,
        config.image_size,
        imported.numbers,
        config.heads,
        imported.config_file.display()
    );
    Ok(())
}

/// Turns the checkpoint into `args.output` and a `config.json` beside it; neither is written unless
/// the weights fit the network in every shape and both can be.
pub fn import(args: &ImportArgs) -> Result<Imported, ImportError> {
    let path = &args.checkpoint;
    let destination = Destination::new(args)?;
    let checkpoint = Checkpoint::open(path, args.key.as_deref())?;
    let config = architecture(args, &checkpoint)?;
    config.validate().map_err(|source| ImportError::Network {
        path: path.clone(),
        source,
    })?;
    // Counted before anything is built, so that nothing is built that the file does not have.
    let expected = u64::try_from(config.footprint().parameters).unwrap_or(u64::MAX);
    if expected > checkpoint.numbers().saturating_mul(2) {
        return Err(ImportError::Architecture {
            path: path.clone(),
            reason: format!(
                "the network has {expected} weights, the file {}",
                checkpoint.numbers()
            ),
        });
    }
    let stored = checkpoint.read()?;
    weights::check(path, &stored.tensors, &config)?;
    destination.write(&stored.tensors, &config)?;
    Ok(Imported {
        warnings: warnings(args, &checkpoint, &stored, &config),
        config,
        config_file: destination.config,
        numbers: checkpoint.numbers(),
    })
}

fn architecture(args: &ImportArgs, checkpoint: &Checkpoint) -> Result<NetworkConfig, ImportError> {
    let shapes = checkpoint.shapes();
    let fail = |reason: String| ImportError::Architecture {
        path: args.checkpoint.clone(),
        reason,
    };
    let Some(file) = &args.config else {
        let said = Said {
            arch: args.arch,
            heads: args.heads,
            image_size: args.image_size,
        };
        return infer::infer(&shapes, said).map_err(fail);
    };
    let mut config = config::read_for(file, args.network.as_deref(), Some(&shapes))?;
    if config.arch != args.arch {
        return Err(fail(format!(
            "{} describes a {} network, --arch says {}",
            file.display(),
            config.arch,
            args.arch
        )));
    }
    config.out_channels = Some(config.output_channels());
    Ok(config)
}

fn warnings(
    args: &ImportArgs,
    checkpoint: &Checkpoint,
    stored: &Weights,
    config: &NetworkConfig,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if args.config.is_none() && args.heads.is_none() {
        warnings.push(match (config.arch, config.heads) {
            (Arch::V2, heads) => format!(
                "the weights do not tell the number of heads: {heads} assumed, as the public code has (the \
                 paper's Table 2 says 2); a wrong number gives wrong predictions without an error, so state --heads"
            ),
            (_, Heads::Count(_)) => format!(
                "the weights do not tell the number of heads: {} assumed, the default of the public code; a wrong \
                 number gives wrong predictions without an error, so state --heads",
                config.heads
            ),
            (_, Heads::Width(_)) => format!(
                "the weights do not tell the heads: {} assumed, as in all public classifiers",
                config.heads
            ),
        });
    }
    if args.config.is_none()
        && args.image_size.is_none()
        && config.arch != Arch::Classifier
        && infer::published_size(&config.channel_mult).is_none()
    {
        warnings.push(format!(
            "the weights of a U-Net do not tell the size of its images, and no published network has the widths {:?}: \
             {} pixels assumed; state --image-size",
            config.channel_mult, config.image_size
        ));
    }
    if !checkpoint.others.is_empty() {
        warnings.push(format!(
            "the file holds several sets of weights: those under '{}' were taken, not {} (choose with --key)",
            checkpoint.key,
            checkpoint.others.join(", ")
        ));
    }
    if stored.float64 > 0 {
        let rounded = match stored.rounded {
            0 => "which holds every one of them exactly".to_owned(),
            rounded => format!("{rounded} of them rounded, as the network computes in float32"),
        };
        warnings.push(format!(
            "{} weights are stored as float64: written as float32, {rounded}",
            stored.float64
        ));
    }
    warnings
}
