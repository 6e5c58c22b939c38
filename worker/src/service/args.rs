//! The command line of `anofpdm-worker run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anofpdm_common::queue::{self, WorkQueue};
use anofpdm_common::spec::Precision;
use anofpdm_common::work::{NumericProfile, WorkerInfo};
use clap::Args;

use crate::torch::{self, DeviceSpec};

use super::{ServiceConfig, serve};

/// Take jobs from a queue and run them
#[derive(Debug, Args)]
#[command(
    after_help = "Example (what `anofpdm run` starts, one a device):\n  anofpdm-worker run --queue unix:/tmp/q/queue.sock --device cpu \\\n    --data stores/brats21 --artifacts runs/brats21/records"
)]
pub struct RunArgs {
    /// Address of the queue: unix:PATH
    #[arg(long)]
    queue: String,
    /// Where to compute: cpu, cuda, cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// The slice store
    #[arg(long)]
    data: PathBuf,
    /// The artifact store of the run
    #[arg(long)]
    artifacts: PathBuf,
    /// Folder for training checkpoints [default: checkpoints beside the artifact store]
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// CPU threads; part of the numeric profile
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Stop when there is no work instead of waiting for more
    #[arg(long)]
    exit_when_idle: bool,
    /// Stop at once when standard input closes: the starting program has ended
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Runs until the queue is finished.
///
/// # Errors
/// When the device is absent, a store cannot be opened or the queue refuses this worker.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    if args.exit_with_parent {
        exit_with_parent()?;
    }
    // Unhandled, a file-size limit would kill the process instead of failing the write.
    signal_hook::flag::register(
        signal_hook::consts::SIGXFSZ,
        Arc::new(AtomicBool::new(false)),
    )?;
    let device = args.device.open()?;
    torch::set_threads(i32::try_from(args.threads).unwrap_or(i32::MAX));
    // Post-processing beside the device shares the worker's cores, no more.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads as usize)
        .build_global()?;
    let profile = NumericProfile {
        device: torch::device_class(device),
        precision: Precision::Fp32,
        libtorch: torch::libtorch_version(),
        cpu_capability: torch::cpu_capability().to_owned(),
        threads: args.threads,
    };
    let queue: Arc<dyn WorkQueue> = Arc::from(queue::connect(&args.queue)?);
    let info = WorkerInfo {
        worker: queue::unique_worker_id(),
        host: std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .unwrap_or_default(),
        pid: std::process::id(),
        profile: profile.clone(),
        memory_bytes: torch::memory_bytes(device).unwrap_or(0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let checkpoints = args
        .checkpoints
        .clone()
        .unwrap_or_else(|| args.artifacts.with_file_name("checkpoints"));
    let config = ServiceConfig {
        data: args.data.clone(),
        artifacts: args.artifacts.clone(),
        checkpoints,
        device,
        profile,
        exit_when_idle: args.exit_when_idle,
    };
    Ok(serve(&queue, &info, &config)?)
}

/// Ends this process as soon as its parent does: the pipe on standard input then closes. What is being written is
/// left under a temporary name; nothing half done counts.
fn exit_with_parent() -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(|| {
            let closed = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::warn!(?closed, "the coordinator is gone");
            std::process::exit(1);
        })
        .map(drop)
}
