//! `anofpdm-worker trace`: one batch, everything visible.

pub mod args;
mod baseline;
mod forward;
mod input;
mod output;
pub mod picture;

use anyhow::{Context, Result};
use tch::Device;

use crate::diffusion::Schedule;
use crate::engine::{self, precision};
use crate::method_error::MethodError;
use crate::nn::config;
use crate::tensors;
use crate::torch;
use crate::usage::UsageError;
use args::{TraceArgs, TraceMethod};
use input::Inputs;

/// What every method is traced on.
struct TraceContext<'a> {
    args: &'a TraceArgs,
    device: Device,
    schedule: Schedule,
    inputs: Inputs,
    /// Channels that maps are made of.
    modalities: Vec<i64>,
}

/// Runs a method on one batch and writes everything it yields.
pub fn run(args: &TraceArgs) -> Result<()> {
    args.check_options()?;
    if args.picture.run.is_some() {
        torch::memory::keep();
        torch::set_threads(args.threads);
        return picture::run(args);
    }
    let (Some(model), Some(config), Some(input), Some(out_path)) =
        (&args.model, &args.config, &args.input, &args.out)
    else {
        return Err(UsageError::new("give --model, --config, --input, --out and --steps").into());
    };
    let device = args.device.open()?;
    let kind = precision::set(args.precision, device).map_err(UsageError::new)?;
    torch::memory::keep();
    torch::set_threads(args.threads);
    // What the engine computes itself keeps to them too.
    rayon::ThreadPoolBuilder::new()
        .num_threads(usize::try_from(args.threads).unwrap_or(1))
        .build_global()?;
    let config = config::read(config, args.network.as_deref(), Some(model))?;
    let schedule = Schedule::linear(args.diffusion_steps as usize, &args.respacing)
        .map_err(UsageError::new)?;
    let inputs = Inputs::read(input, device)?;
    inputs.check(config.in_channels, config.image_size)?;
    let modalities = if args.modalities.is_empty() {
        (0..config.in_channels).collect()
    } else {
        args.modalities.clone()
    };
    let mut net = engine::open(model, &config, device, kind)?;
    let context = TraceContext {
        args,
        device,
        schedule,
        inputs,
        modalities,
    };
    let out = match args.method {
        TraceMethod::Anofpdm(_) => forward::trace(&context, &mut net)?,
        TraceMethod::Baseline(baseline) => baseline::trace(&context, baseline, &mut net)?,
    };
    tensors::write(out_path, &out).context("the trace cannot be written")
}

/// A setting or an input that does not fit is bad usage here.
fn usage(error: MethodError) -> anyhow::Error {
    match error {
        MethodError::Invalid(message) => UsageError::new(message).into(),
        other => other.into(),
    }
}
