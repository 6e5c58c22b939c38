//! `anofpdm-queue-cost`: what the queue itself takes, through Redis and through the local socket.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_tests::queue_cost::coordinator::{Place, coordinate};
use anofpdm_tests::queue_cost::measurement::{Cost, local, redis};
use anofpdm_tests::queue_cost::watched::watch;
use anofpdm_tests::queue_cost::worker::work;
use clap::{Args, Parser, Subcommand};

/// Longest recovery of a coordinator, seconds; a longer one is a failure.
const RECOVERY_LIMIT: f64 = 5.0;

/// Sends shards without work through the queue and measures what that takes
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  make queue-cost\n\nMeasure on a machine that does nothing else, or say that it did."
)]
struct Cli {
    /// Shards
    #[arg(long, default_value_t = 100_000)]
    shards: u64,
    /// Workers, a process each
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// Every process counts its calls and is asked for its metrics each second
    #[arg(long, global = true)]
    metrics: bool,
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A process of the measurement.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Coordinate(Coordinate),
    #[command(hide = true)]
    Work {
        #[arg(long)]
        address: String,
        #[arg(long)]
        name: String,
        #[arg(long)]
        hold: bool,
    },
}

#[derive(Debug, Args)]
struct Coordinate {
    #[arg(long)]
    shards: u64,
    #[arg(long)]
    workers: usize,
    #[arg(long, required_unless_present = "local")]
    redis: Option<String>,
    #[arg(long)]
    local: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Of this part of the measurement, until it ends.
    let _watched = match (cli.part.is_some() && cli.metrics).then(watch).transpose() {
        Ok(watched) => watched,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match &cli.part {
        Some(Part::Coordinate(part)) => match (&part.redis, &part.local) {
            (Some(url), _) => coordinate(&Place::Redis(url), part.shards, part.workers),
            (None, Some(folder)) => coordinate(&Place::Local(folder), part.shards, part.workers),
            (None, None) => return ExitCode::FAILURE,
        },
        Some(Part::Work {
            address,
            name,
            hold,
        }) => work(address, name, *hold),
        None => return measure(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> ExitCode {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let costs = [
        redis(cli.shards, cli.workers, cli.metrics),
        local(folder.path(), cli.shards, cli.workers, cli.metrics),
    ];
    if cli.json {
        println!("{}", serde_json::json!(costs));
    } else {
        print_table(cli, &costs);
    }
    if costs
        .iter()
        .any(|cost| cost.recovery_seconds > RECOVERY_LIMIT)
    {
        eprintln!("error: a coordinator took longer than {RECOVERY_LIMIT} s to recover");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[allow(clippy::cast_precision_loss)]
fn print_table(cli: &Cli, costs: &[Cost]) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{} shards, {} workers", cli.shards, cli.workers);
    println!(
        "| queue | shards/s | submit | server, peak | coordinator: empty | all submitted | peak | a shard | recovery |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for cost in costs {
        let growth = cost
            .coordinator_peak
            .saturating_sub(cost.coordinator_before);
        println!(
            "| {} | {:.0} | {:.2} s | {:.0} MiB | {:.1} MiB | {:.1} MiB | {:.1} MiB | {:.0} bytes | {:.2} s |",
            cost.driver,
            cost.shards_per_second,
            cost.submit_seconds,
            mib(cost.server_peak),
            mib(cost.coordinator_before),
            mib(cost.coordinator_submitted),
            mib(cost.coordinator_peak),
            growth as f64 / cli.shards as f64,
            cost.recovery_seconds,
        );
    }
}
