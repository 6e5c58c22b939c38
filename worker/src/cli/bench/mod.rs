//! `anofpdm-worker bench`: what a step of scoring takes.

pub mod args;
mod matmul;
mod pass;
mod report;

use anofpdm_common::network::NetworkConfig;
use anyhow::Result;
use tch::nn::VarStore;
use tch::{Device, Kind};

use crate::engine::{Engine, Optimizations, precision};
use crate::nn::{UNet, config, weights};
use crate::torch;
use crate::usage::UsageError;
use args::BenchArgs;
use report::Report;

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<()> {
    let device = args.device.open()?;
    let optimizations = args.savings.unwrap_or_else(|| Optimizations::on(device));
    if optimizations.contains(Optimizations::KEPT_MEMORY) {
        torch::memory::keep();
    }
    torch::set_threads(i32::try_from(args.threads).unwrap_or(i32::MAX));
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads as usize)
        .build_global()?;
    let kind = precision::set(args.precision, device).map_err(UsageError::new)?;
    let config = config::read(
        &args.config,
        args.network.as_deref(),
        args.weights.as_deref(),
    )?;
    let network = match &args.weights {
        Some(path) => weights::open_unet(path, &config, device)?,
        None => random(&config, device)?,
    };
    let mut engine = Engine::new(network, kind, optimizations);
    let timed = pass::time(args, &config, device, &mut engine)?;
    let matmul = matmul::rate(device, kind);
    let report = Report::new(args, optimizations, &config, device, &timed, matmul);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// A network whose weights are all random: fresh ones end their blocks in zeros.
fn random(config: &NetworkConfig, device: Device) -> Result<UNet> {
    if config.arch == anofpdm_common::network::Arch::Classifier {
        return Err(UsageError::new("bench measures U-Nets, this is a classifier").into());
    }
    let mut vs = VarStore::new(device);
    let network = UNet::new(&vs.root(), config);
    tch::no_grad(|| {
        for mut variable in vs.variables().into_values() {
            let noise = variable.randn_like().to_kind(Kind::Float) * 0.02;
            drop(variable.g_add_(&noise));
        }
    });
    vs.freeze();
    Ok(network)
}
