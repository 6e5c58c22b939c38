//! `anofpdm-worker bench-train`: how fast this machine trains a network.

pub mod args;
mod synthetic;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::spec::{Preset, TrainSpec};
use serde::Serialize;
use tch::{Device, Kind};

use crate::collective::gloo::{self, LOOPBACK, Listen};
use crate::collective::{Membership, MemoryRendezvous, Rendezvous, Timeouts};
use crate::nn::config;
use crate::shim::numerics::peak_memory;
use crate::torch;
use crate::train::timing::{StepTime, time_steps};
use crate::train::{Identity, Ranks, TrainError, TrainRequest};
use crate::usage::UsageError;
use args::BenchTrainArgs;
use synthetic::Synthetic;

#[derive(Debug, Serialize)]
struct Timing {
    device: String,
    precision: &'static str,
    checkpoint_activations: bool,
    batch: u64,
    world: u64,
    threads: i32,
    steps: usize,
    /// Global batch over the median of the steps' times.
    images_per_second: f64,
    seconds_per_step: f64,
    /// Share of the time in which the device waited for samples.
    loader_wait: f64,
    /// Of the GPU; for the CPU the most memory that the process has had.
    peak_memory_bytes: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// When the network cannot be built or trained here, or the arguments contradict each other.
pub fn run(args: &BenchTrainArgs) -> anyhow::Result<()> {
    let device = args.device.open()?;
    torch::memory::keep();
    if args.world > 1 && device.is_cuda() {
        let said = "--world counts ranks on the CPU; a GPU has one rank: leave it out";
        return Err(UsageError::new(said).into());
    }
    let network = config::read(&args.config, args.network.as_deref(), None)?;
    let mut train = TrainSpec::published(args.role, Preset::Paper);
    train.steps = args.warm_up + args.steps;
    train.batch = args.batch;
    train.precision = args.precision;
    train.micro_batch = args.micro_batch;
    train.checkpoint_activations = args.checkpoint_activations;
    train.dropout = args.dropout;
    let [channels, size] = [network.in_channels, network.image_size].map(i64::unsigned_abs);
    let shape = [channels, size, size].map(|side| usize::try_from(side).unwrap_or(usize::MAX));
    let request = TrainRequest {
        role: args.role,
        network,
        data: Arc::new(Synthetic::new(shape, args.batch)),
        train,
        validation: None,
        checkpoints: Path::new(""),
        device,
        identity: Identity {
            spec: Digest::of(b"bench-train"),
            data: Digest::of(b"synthetic"),
        },
        ranks: Ranks::Alone,
        generation: None,
        kind: Kind::Float,
    };
    let times = match args.world {
        1 => {
            torch::set_threads(args.threads);
            time_steps(&request)?
        }
        world => time_together(&request, world, args.threads)?,
    };
    let warm_up = usize::try_from(args.warm_up).unwrap_or(usize::MAX);
    print(
        &timing(args, device, times.get(warm_up..).unwrap_or_default()),
        args.json,
    )
}

/// The times of rank 0: every rank waits for the others in every step.
fn time_together(
    request: &TrainRequest<'_>,
    world: u64,
    threads: i32,
) -> anyhow::Result<Vec<StepTime>> {
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
    let world = usize::try_from(world)?;
    let rank = |rank: usize| -> anyhow::Result<Vec<StepTime>> {
        torch::set_threads(threads);
        let listen = Listen::Host(LOOPBACK.to_owned());
        let membership = Membership { rank, world };
        let group = gloo::connect(
            membership,
            Arc::clone(&rendezvous),
            Timeouts::default(),
            &listen,
        )?;
        let request = TrainRequest {
            ranks: Ranks::Together(&group),
            ..request.clone()
        };
        Ok(time_steps(&request)?)
    };
    let mut said = std::thread::scope(|scope| {
        let running: Vec<_> = (0..world)
            .map(|number| scope.spawn(move || rank(number)))
            .collect();
        running
            .into_iter()
            .map(|running| {
                running
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a rank has panicked")))
            })
            .collect::<Vec<_>>()
    });
    // What a rank says of itself explains more than that others have lost it.
    let own = said.iter().position(|said| {
        said.as_ref()
            .is_err_and(|error| !matches!(error.downcast_ref(), Some(TrainError::Collective(_))))
    });
    said.swap_remove(own.unwrap_or(0))
}

fn timing(args: &BenchTrainArgs, device: Device, times: &[StepTime]) -> Timing {
    let mut whole: Vec<Duration> = times.iter().map(|time| time.whole).collect();
    whole.sort_unstable();
    let middle = whole.get(whole.len() / 2).copied().unwrap_or_default();
    let seconds_per_step = middle.as_secs_f64();
    let total: f64 = times.iter().map(|time| time.whole.as_secs_f64()).sum();
    let waited: f64 = times.iter().map(|time| time.waited.as_secs_f64()).sum();
    #[allow(clippy::cast_precision_loss)] // batches are small
    let images = args.batch as f64;
    Timing {
        device: torch::device_class(device),
        precision: args.precision.name(),
        checkpoint_activations: args.checkpoint_activations,
        batch: args.batch,
        world: args.world,
        threads: args.threads,
        steps: times.len(),
        images_per_second: images / seconds_per_step,
        seconds_per_step,
        loader_wait: waited / total,
        peak_memory_bytes: if device.is_cuda() {
            peak_memory(device).ok()
        } else {
            torch::peak_process_memory()
        },
    }
}

fn print(timing: &Timing, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(timing)?);
        return Ok(());
    }
    println!(
        "{:.2} images/s: {:.4} s a step of {} ({} rank(s), {} thread(s), {}, {})",
        timing.images_per_second,
        timing.seconds_per_step,
        timing.batch,
        timing.world,
        timing.threads,
        timing.precision,
        timing.device
    );
    println!("waiting for samples: {:.1} %", 100.0 * timing.loader_wait);
    if let Some(bytes) = timing.peak_memory_bytes {
        println!("peak memory: {} MiB", bytes >> 20);
    }
    Ok(())
}
