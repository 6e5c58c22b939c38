//! The loop that scoring runs, timed pass by pass.

use std::ops::ControlFlow;
use std::time::Instant;

use anofpdm_common::method::MapKind;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::args::BenchArgs;
use crate::anofpdm::ForwardPass;
use crate::cli::clock::{self, median, wait_for};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::{Respacing, Schedule};
use crate::method_error::MethodError;
use crate::predictor::NoisePredictor;
use crate::shim::numerics::{forget_peak_memory, peak_memory};
use crate::shim::operations::counted;
use crate::torch;
use crate::usage::UsageError;

/// Steps of the pass that is not measured.
const WARM_UP_STEPS: usize = 2;

#[derive(Debug)]
pub(super) struct Timed {
    /// Seconds a step of the batch.
    pub(super) seconds_per_step: f64,
    /// Evaluations of a slice in all steps of a pass.
    pub(super) evaluations_per_slice: f64,
    /// Share of a step's time after which the host has asked for all of it; the device is then still at work.
    pub(super) host_share: f64,
    /// Operations of libtorch in a step that compute something: launches, on a GPU.
    pub(super) operations: u64,
    /// Bytes; `None` where the system does not say.
    pub(super) peak_memory: Option<u64>,
}

/// Times the forward process on generated slices.
pub(super) fn time(
    args: &BenchArgs,
    config: &NetworkConfig,
    device: Device,
    predictor: &mut dyn NoisePredictor,
) -> Result<Timed> {
    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::None)?;
    let modalities = match (args.modalities.as_slice(), config.in_channels) {
        ([], 4) => vec![0, 3],
        ([], channels) => (0..channels).collect(),
        (chosen, _) => chosen.to_vec(),
    };
    let mut maps = vec![MapKind::Aam];
    if args.variants {
        maps.extend([
            MapKind::Ste,
            MapKind::Gradient,
            MapKind::GradientTe,
            MapKind::GradientWeighted,
        ]);
    }
    let mut pass = ForwardPass {
        schedule: &schedule,
        switches: args.semantics.switches(),
        encoding: args.encoding,
        steps: (args.steps as usize).min(WARM_UP_STEPS),
        guidance: &args.guidance,
        modalities: &modalities,
        maps: &maps,
        end_step_ratios: &[],
        keep: &[],
        lesion: None,
    };
    let slices = i64::from(args.batch);
    let size = [
        slices,
        config.in_channels,
        config.image_size,
        config.image_size,
    ];
    let x0 = Tensor::rand(size, (Kind::Float, device)) * 2.0 - 1.0;
    let noise = NoiseSource::Counter {
        seed: 0,
        slices: (0..u64::from(args.batch)).collect(),
    };
    let mut run = |pass: &ForwardPass<'_>| {
        let start = Instant::now();
        let mut asked = start;
        let done = pass.run(predictor, &x0, &noise, &mut |_| {
            asked = Instant::now();
            ControlFlow::Continue(())
        });
        wait_for(device);
        let seconds = start.elapsed().as_secs_f64();
        let asked = asked.duration_since(start).as_secs_f64();
        done.map(|done| (seconds, asked, done.evaluations))
            .map_err(|error| match error {
                MethodError::Invalid(message) => anyhow::Error::from(UsageError::new(message)),
                other => other.into(),
            })
    };
    run(&pass)?;
    // What a pass does once is in both counts.
    let mut operations = Vec::new();
    for steps in 1..=pass.steps {
        let (done, seen) = counted(|| run(&ForwardPass { steps, ..pass }))?;
        done?;
        operations.push(seen.computing());
    }
    let operations = match operations[..] {
        [first, second] => second.saturating_sub(first),
        _ => operations.first().copied().unwrap_or(0),
    };
    pass.steps = args.steps as usize;
    clock::forget_peak();
    if device.is_cuda() {
        forget_peak_memory(device)?;
    }
    let mut seconds = Vec::new();
    let mut host_shares = Vec::new();
    let mut evaluations = 0;
    for _ in 0..args.repeats {
        let (taken, asked, counted) = run(&pass)?;
        seconds.push(taken / f64::from(args.steps));
        host_shares.push(asked / taken);
        evaluations = counted;
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let evaluations_per_slice = evaluations as f64 / f64::from(args.batch);
    Ok(Timed {
        seconds_per_step: median(&mut seconds),
        evaluations_per_slice,
        host_share: median(&mut host_shares),
        operations,
        peak_memory: match device {
            Device::Cpu => torch::peak_process_memory(),
            _ => peak_memory(device).ok(),
        },
    })
}
