//! Many workers in one process: the worker loop of the product in a thread each, on fake devices.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anofpdm_common::instance;
use anofpdm_common::plan::{NumericProfile, WorkerInfo};
use anofpdm_common::queue::{WorkQueue, connect};
use anofpdm_common::telemetry::endpoint::Endpoint;
use anofpdm_common::telemetry::queue_calls;
use anofpdm_common::telemetry::registry::MetricsRegistry;
use anofpdm_worker::backend::Backend;
use anofpdm_worker::torch;
use anofpdm_worker::worker_loop::drain::Drain;
use anofpdm_worker::worker_loop::liveness::Liveness;
use anofpdm_worker::worker_loop::worker_metrics::WorkerMetrics;
use anofpdm_worker::worker_loop::{WorkerConfig, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fake::FakeBackend;
use crate::fake::faults::FaultSpec;
use crate::queue_cost::watched::Page;

/// CPU threads that all of them make records on; their profile says one.
const RECORD_THREADS: usize = 2;

/// Sockets and files of a worker: two connections, and what it reads and writes at the moment.
const FILES_OF_A_WORKER: u64 = 6;

/// Serves the runs at `url` with so many workers until this process is asked to end.
///
/// # Errors
/// When a worker ends with an error, or the system has no room for them.
pub fn work(url: &str, workers: usize, faults: &FaultSpec) -> anyhow::Result<()> {
    make_room(workers)?;
    let drain = Drain::listen(Duration::from_secs(5))?;
    let calls = MetricsRegistry::new(&[])?;
    // Before the workers count them: there is one counter a process.
    queue_calls::count(&calls)?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let _endpoint = Endpoint::start(anywhere, Arc::new(Page(calls)))?;
    let metrics = WorkerMetrics::new()?;
    torch::set_threads(1);
    rayon::ThreadPoolBuilder::new()
        .num_threads(RECORD_THREADS)
        .build_global()?;
    let threads: Vec<_> = (0..workers)
        .map(|number| {
            let (url, faults) = (url.to_owned(), faults.clone());
            let (drain, metrics) = (Arc::clone(&drain), metrics.clone());
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || one(&url, number, &faults, metrics, &drain))
        })
        .collect::<Result<_, _>>()?;
    for thread in threads {
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(())
}

fn one(
    url: &str,
    number: usize,
    faults: &FaultSpec,
    metrics: WorkerMetrics,
    drain: &Arc<Drain>,
) -> anyhow::Result<()> {
    let backend = FakeBackend::new(faults);
    let profile = NumericProfile {
        device: backend.device_class(),
        libtorch: torch::libtorch_version(),
        cpu_capability: torch::cpu_capability().to_owned(),
        threads: 1,
    };
    let info = WorkerInfo {
        worker: instance::unique_instance_id(),
        host: instance::host_name(),
        pid: std::process::id(),
        profile: profile.clone(),
        memory_bytes: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // Nobody listens there: it is what a fleet's workers say.
        metrics: Some(format!("127.0.0.1:{}", 40_000 + number % 10_000)),
    };
    let config = WorkerConfig {
        run: None,
        data: PathBuf::from(".").into(),
        artifacts: PathBuf::from(".").into(),
        checkpoints: None,
        address: "127.0.0.1".to_owned(),
        profile,
        exit_when_idle: None,
        metrics,
        liveness: Liveness::new(Duration::from_secs(600)),
    };
    let queue: Arc<dyn WorkQueue> = Arc::from(connect(url, None)?);
    Ok(serve(&queue, &info, &config, Box::new(backend), drain)?)
}

/// As many open files as they need, where the system allows it.
fn make_room(workers: usize) -> anyhow::Result<()> {
    let needed = FILES_OF_A_WORKER * workers as u64 + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(needed),
                maximum: limit.maximum,
            },
        )
        .map_err(|error| {
            anyhow::anyhow!("{workers} workers need {needed} open files (ulimit -n): {error}")
        })?;
    }
    Ok(())
}
