//! `anofpdm run SPEC`: the whole benchmark.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anofpdm_common::device::DeviceName;
use anofpdm_common::plan::Stage;
use anofpdm_common::queue::{LONGEST_TTL, QueueAddress, address_for_run};
use anofpdm_common::spec::RunSpec;
use anofpdm_common::store::object::ObjectUrl;
use clap::{Args, ValueEnum};

use super::failure::UsageError;
use super::outcome::OutcomeArgs;
use super::spec_args::SpecArgs;
use super::upload::parse_target;
use crate::run::signals::Interrupt;
use crate::run::{self, QueueChoice, RunOptions};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm run examples/brats13-small.toml\n  anofpdm run examples/brats21.toml --queue redis://queue.example\n  anofpdm run brats13-small\n\nRun it again to go on after an interruption, by its spec or by its name: finished work is never repeated.\n\nThe workers that it starts are the program anofpdm-worker beside this one, or that which ANOFPDM_WORKER names."
)]
pub struct RunArgs {
    #[command(flatten)]
    spec_file: SpecArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Stop after this stage
    #[arg(long, value_enum, default_value_t = Until::Report)]
    until: Until,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// How a run is carried out; none of it changes a result.
#[derive(Debug, Clone, Args)]
pub struct HowArgs {
    /// The queue: local, which needs no server, or redis://[USER@]HOST[:PORT][/DB], rediss://…
    #[arg(long, default_value = "local")]
    queue: String,
    /// Devices to start a worker on each: cpu, cuda:0,cuda:1; auto is every GPU there is, else the CPU
    /// [default: auto with the local queue, none with Redis, whose workers are started by themselves]
    #[arg(long, value_delimiter = ',')]
    device: Option<Vec<String>>,
    /// Workers on the CPU [default: as many as its cores allow with the spec's threads, and as a training needs]
    #[arg(long)]
    workers: Option<usize>,
    /// Share of the finished shards that another worker runs again, to compare bits
    #[arg(long, default_value_t = 0.01, value_parser = parse_share)]
    audit: f64,
    /// Folder of records shared with other runs
    #[arg(long, env = "ANOFPDM_CACHE")]
    cache: Option<PathBuf>,
    /// Where records, weights and plans lie: an address in an object store (s3://BUCKET/PREFIX, gs://…, az://…), from
    /// which workers take them and where they put them; the run folder has copies, and remembers the address
    /// [default: the run folder]
    #[arg(long, value_name = "URL", value_parser = parse_target)]
    records: Option<ObjectUrl>,
    /// Seconds after which a silent worker's shard is given to another
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST_TTL.as_secs()))]
    lease: Option<u64>,
    /// Serve metrics for Prometheus over HTTP at this address, for instance 0.0.0.0:9463: /metrics, /healthz, /readyz,
    /// /livez, and /workers, which names the workers' own [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// Stop in good order after so many hours, a training with a checkpoint (exit code 130); run again to go on
    #[arg(long, value_parser = parse_hours)]
    max_hours: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    Train,
    Calibrate,
    Score,
    Report,
}

/// The device that several workers can share.
const CPU: &str = "cpu";

/// Every GPU there is, else the CPU.
const AUTO: &str = "auto";

/// Most local workers.
const MAX_WORKERS: usize = 256;

impl HowArgs {
    /// The options for a run of `spec` in `dir`.
    pub fn options(&self, dir: &Path, spec: &RunSpec) -> Result<RunOptions, UsageError> {
        let queue = parse_queue(&self.queue)?;
        Ok(RunOptions {
            dir: dir.to_path_buf(),
            until: None,
            devices: self.devices(spec, &queue)?,
            queue,
            audit: self.audit,
            cache: self.cache.clone(),
            records: self.records.clone(),
            metrics: self.metrics,
            lease: self
                .lease
                .map_or_else(RunOptions::default_lease, Duration::from_secs),
        })
    }

    pub fn time_limit(&self) -> Option<Duration> {
        self.max_hours
            .map(|hours| Duration::from_secs_f64(hours * 3_600.0))
    }

    fn devices(&self, spec: &RunSpec, queue: &QueueChoice) -> Result<Vec<String>, UsageError> {
        let asked = match (&self.device, queue) {
            (Some(devices), _) => devices.clone(),
            (None, QueueChoice::Redis(_)) if self.workers.is_none() => return Ok(Vec::new()),
            (None, _) => vec![AUTO.to_owned()],
        };
        let automatic = asked == [AUTO];
        if !automatic {
            check_names(&asked)?;
        }
        if automatic && self.workers.is_none() {
            let gpus = gpus();
            if !gpus.is_empty() {
                return Ok(gpus);
            }
        }
        if !automatic && asked != [CPU] {
            if self.workers.is_some() {
                return Err(UsageError(
                    "--workers is for the CPU; name each GPU once in --device".to_owned(),
                ));
            }
            return Ok(asked);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self
            .workers
            .unwrap_or_else(|| (cores / spec.compute.threads as usize).max(most_ranks(spec)));
        if workers == 0 || workers > MAX_WORKERS {
            return Err(UsageError(format!(
                "--workers is {workers}: 1 to {MAX_WORKERS} are supported"
            )));
        }
        Ok(vec![CPU.to_owned(); workers])
    }
}

/// Ranks of the largest gang a training must have; 1 where nothing is trained together.
fn most_ranks(spec: &RunSpec) -> usize {
    let trains = spec.model.values().filter_map(|model| model.train.as_ref());
    let ranks = trains.map(|train| train.devices.min() as usize);
    ranks.max().unwrap_or(1)
}

/// Not a value parser: clap repeats a value it refuses, and there may be a password in this one.
fn parse_queue(text: &str) -> Result<QueueChoice, UsageError> {
    match address_for_run(text) {
        Ok(QueueAddress::Redis(server)) => Ok(QueueChoice::Redis(server.text)),
        Ok(_) => Ok(QueueChoice::Local),
        Err(error) => Err(UsageError(format!("--queue: {error}"))),
    }
}

/// Refuses what no worker could open.
fn check_names(devices: &[String]) -> Result<(), UsageError> {
    let wrong = devices
        .iter()
        .find(|device| device.parse::<DeviceName>().is_err());
    match wrong {
        None => Ok(()),
        Some(auto) if auto == AUTO => Err(UsageError(format!(
            "--device: {AUTO} stands for every device there is, and so alone"
        ))),
        Some(wrong) => Err(UsageError(format!(
            "--device {wrong}: cpu, cuda, cuda:N (e.g. cuda:0,cuda:1) or {AUTO} is expected"
        ))),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share from 0 to 1 is expected".to_owned()),
    }
}

fn parse_hours(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hours) if hours > 0.0 && hours <= 100_000.0 => Ok(hours),
        _ => Err("a positive number of hours is expected".to_owned()),
    }
}

/// The GPUs whose device files are there. The coordinator does not link libtorch, so it asks the system.
pub(super) fn gpus() -> Vec<String> {
    (0..64)
        .filter(|number| Path::new(&format!("/dev/nvidia{number}")).exists())
        .map(|number| format!("cuda:{number}"))
        .collect()
}

pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (spec_file, dir) = args.spec_file.open()?;
    let mut options = args.how.options(&dir, &spec_file.spec)?;
    options.until = match args.until {
        Until::Train => Some(Stage::Train),
        Until::Calibrate => Some(Stage::Calibrate),
        Until::Score => Some(Stage::Score),
        Until::Report => None,
    };
    let interrupt = Interrupt::listen()?.within(args.how.time_limit());
    let Some(summary) = run::run(&spec_file, &options, &interrupt)? else {
        return Ok(ExitCode::SUCCESS);
    };
    args.outcome.print(&summary, &dir)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_those_of_the_workers() {
        let names = |text: &str| {
            let names: Vec<String> = text.split(',').map(str::to_owned).collect();
            check_names(&names).map_err(|error| error.to_string())
        };
        for good in ["cpu", "cuda", "cuda:0,cuda:1"] {
            assert_eq!(names(good), Ok(()), "{good}");
        }
        assert_eq!(
            names("gpu").unwrap_err(),
            "--device gpu: cpu, cuda, cuda:N (e.g. cuda:0,cuda:1) or auto is expected"
        );
        for wrong in ["cuda:0,cuda:x", "CPU", "", "cuda:0,", "mps", "fake"] {
            assert!(
                names(wrong).unwrap_err().starts_with("--device "),
                "{wrong}"
            );
        }
        assert!(names("auto,cuda:0").unwrap_err().contains("alone"));
    }

    #[test]
    fn a_queue_that_a_worker_would_refuse_is_refused() {
        let refused = |text: &str| parse_queue(text).unwrap_err().to_string();
        assert_eq!(parse_queue("local").unwrap(), QueueChoice::Local);
        assert_eq!(
            parse_queue("redis://h:7000/1").unwrap(),
            QueueChoice::Redis("redis://h:7000/1".to_owned())
        );
        assert_eq!(
            refused("unix:///run/redis.sock"),
            "--queue: 'unix:///run/redis.sock' is not the address of a queue: a Redis server is reached over TCP only: write redis://HOST[:PORT][/DB]"
        );
        let password = refused("redis://u:s3cret@h");
        assert!(!password.contains("s3cret"), "{password}");
        assert!(password.contains("holds a password"), "{password}");
    }
}
