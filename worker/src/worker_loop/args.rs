//! The command line of `anofpdm-worker run`.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anofpdm_common::instance;
use anofpdm_common::plan::{NumericProfile, WorkerInfo};
use anofpdm_common::queue::{self, QueueAddress, WorkQueue};
use anofpdm_common::store::location::Location;
use anofpdm_common::telemetry::endpoint::Endpoint;
use clap::Args;

use crate::backend::Backend;
use crate::backend::libtorch::LibtorchBackend;
use crate::collective::gloo;
use crate::torch::{self, DeviceSpec};
use crate::usage::UsageError;

use super::drain::Drain;
use super::liveness::Liveness;
use super::worker_metrics::{WorkerMetrics, WorkerPages};
use super::{WorkerConfig, serve};

const AFTER_HELP: &str = "Examples:
  what `anofpdm run` starts, one a device:
    anofpdm-worker run --queue unix:/tmp/q/queue.sock --device cpu \\
      --data stores/brats21 --artifacts runs/brats21/records
  serving every run below a shared folder:
    anofpdm-worker run --queue redis://queue.example --device cuda:0 \\
      --data /shared --artifacts /shared
  the same, with numbers for Prometheus at http://HOST:9464/metrics:
    anofpdm-worker run --queue redis://queue.example --device cuda:0 \\
      --data /shared --artifacts /shared --metrics 0.0.0.0:9464

Ending: SIGTERM or Ctrl-C begins nothing new and lets the shard at work finish (--drain-seconds); a training writes a
checkpoint and is handed back. A second signal hands back at once.

Exit codes: 0 done, idle or asked to end; 1 failure; 2 bad usage; 3 this device must not be used again: retired by the
coordinator, or lost; 4 the job at work hung (--hang-seconds).";

/// Take jobs from a queue and run them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    /// Address of the queue: redis://[USER@]HOST[:PORT][/DB], rediss://…, or unix:PATH
    #[arg(long)]
    queue: String,
    /// Serve this run only, by its name in Redis or the beginning of it [default: every run there is]; a local queue has
    /// one
    #[arg(long)]
    run: Option<String>,
    /// Where to compute: cpu, cuda, cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// The slice store, or a folder that has the stores up to three levels below; or an address in an object store
    /// (s3://BUCKET/PREFIX, gs://…, az://…, https://…) of a store, or of a folder that has some
    #[arg(long, default_value = ".")]
    data: Location,
    /// The artifact store of a run (RUN/records), or a folder that has the runs' up to three levels below; or what
    /// `anofpdm run --records` was given
    #[arg(long, default_value = ".")]
    artifacts: Location,
    /// Folder for training checkpoints [default: checkpoints beside the artifact store; to train with one in an object
    /// store it must be given, and be the run's own: RUN/checkpoints]
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Host name or address at which the other ranks of a training reach this machine [default: the one from which it
    /// reaches the queue]
    #[arg(long)]
    address: Option<String>,
    /// CPU threads; part of the numeric profile
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Stop when there has been no work for so many seconds (5 where none are given) instead of waiting for more. In a
    /// fleet wait for several minutes: between two stages of a run, and while others train, there is none
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    exit_when_idle: Option<u32>,
    /// Seconds without progress (or ten of a job's own longest steps) after which a job counts as hung and this worker
    /// ends with exit code 4, so that its device is free again
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    hang_seconds: u32,
    /// Seconds a shard at work may take to finish once this worker is asked to end
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(..=86_400))]
    drain_seconds: u32,
    /// Serve metrics for Prometheus over HTTP at this address, for instance 0.0.0.0:9464 [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// Stop at once when standard input closes: the starting program has ended
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Runs until the queue is finished, or the worker is asked to end.
///
/// # Errors
/// When the device is absent, a root is no folder, the queue refuses this worker, or it is retired.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    run_on(args, |device| {
        // What is not there now will not be there for the next worker: started again it would say the same.
        let device = device
            .open()
            .map_err(|error| UsageError::new(format!("--device: {error}")))?;
        Ok(LibtorchBackend::new(device))
    })
}

/// As [`run`], on the backend that `open` makes of `--device`.
pub fn run_on<B: Backend + 'static>(
    args: &RunArgs,
    open: impl FnOnce(DeviceSpec) -> Result<B, UsageError>,
) -> anyhow::Result<()> {
    let address = queue::address_for_worker(&args.queue)
        .map_err(|error| UsageError::new(format!("--queue: {error}")))?;
    if args.exit_with_parent {
        exit_with_parent()?;
    }
    // Unhandled, a file-size limit would kill the process instead of failing the write.
    signal_hook::flag::register(
        signal_hook::consts::SIGXFSZ,
        Arc::new(AtomicBool::new(false)),
    )?;
    let drain = Drain::listen(Duration::from_secs(args.drain_seconds.into()))?;
    let backend = open(args.device)?;
    let metrics = WorkerMetrics::new()?;
    let liveness = Liveness::new(Duration::from_secs(args.hang_seconds.into()));
    liveness.watch()?;
    let pages = Arc::new(WorkerPages {
        metrics: metrics.clone(),
        drain: Arc::clone(&drain),
        liveness: liveness.clone(),
    });
    // Until this function returns: a worker that starts afresh needs the port again.
    let endpoint = args
        .metrics
        .map(|address| Endpoint::start(address, pages))
        .transpose()?;
    let own_address = args
        .address
        .clone()
        .unwrap_or_else(|| own_address(&address));
    torch::memory::keep();
    torch::set_threads(i32::try_from(args.threads).unwrap_or(i32::MAX));
    // Post-processing beside the device shares the worker's cores, no more.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads as usize)
        .build_global()?;
    let device = backend.device();
    let profile = NumericProfile {
        device: backend.device_class(),
        libtorch: torch::libtorch_version(),
        cpu_capability: torch::cpu_capability().to_owned(),
        threads: args.threads,
    };
    let queue: Arc<dyn WorkQueue> = Arc::from(queue::connect(&args.queue, args.run.as_deref())?);
    let info = WorkerInfo {
        worker: instance::unique_instance_id(),
        host: instance::host_name(),
        pid: std::process::id(),
        profile: profile.clone(),
        memory_bytes: torch::memory_bytes(device).unwrap_or(0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        metrics: endpoint
            .as_ref()
            .map(|endpoint| reached_at(endpoint.address(), &own_address)),
    };
    metrics.identify(
        &info.worker,
        &args.device.to_string(),
        &profile.device,
        &torch::gpu_uuid(device).unwrap_or_default(),
        &profile.libtorch,
    );
    let _context = tracing::info_span!("worker", worker = info.worker).entered();
    let config = WorkerConfig {
        address: own_address,
        run: args.run.clone(),
        data: args.data.clone(),
        artifacts: args.artifacts.clone(),
        checkpoints: args.checkpoints.clone(),
        profile,
        exit_when_idle: args
            .exit_when_idle
            .map(|seconds| Duration::from_secs(seconds.into())),
        metrics,
        liveness,
    };
    Ok(serve(&queue, &info, &config, Box::new(backend), &drain)?)
}

/// Where others reach what listens at `bound`: at every address of this machine means at the one it is known by.
fn reached_at(bound: SocketAddr, own_address: &str) -> String {
    match bound.ip().is_unspecified() {
        false => bound.to_string(),
        true if own_address.contains(':') => format!("[{own_address}]:{}", bound.port()),
        true => format!("{own_address}:{}", bound.port()),
    }
}

/// The address that this machine reaches the queue from, and so the one where others are likely to reach it. A local
/// queue has its workers on this machine.
fn own_address(queue: &QueueAddress) -> String {
    let server = match queue {
        QueueAddress::Redis(server) => Some(server),
        QueueAddress::Local | QueueAddress::Socket(_) => None,
    };
    let found = server.and_then(|server| {
        // Connecting a datagram socket sends nothing: it only looks up the way.
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        socket.connect((server.host.as_str(), server.port)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    });
    found.unwrap_or_else(|| gloo::LOOPBACK.to_owned())
}

/// Ends this process as soon as its parent does: the pipe on standard input then closes. What is being written is
/// left under a temporary name; nothing half done counts.
fn exit_with_parent() -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(|| {
            let closed = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::warn!(?closed, "the coordinator is gone");
            // At once: the destructors of an ordered exit take libtorch so long that the main thread could take a shard
            // from the next coordinator in the meantime, and its death would count as a crash of that shard.
            signal_hook::low_level::exit(1);
        })
        .map(drop)
}
