//! `anofpdm-scale`: what a sweep of real size and a fleet of a thousand workers ask of coordinator, Redis and workers.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anofpdm_tests::fake::faults::{ENVIRONMENT, FaultSpec};
use anofpdm_tests::scale::ground::calls_of_a_batch;
use anofpdm_tests::scale::measurement::{Figures, measure};
use anofpdm_tests::scale::{Size, Workers, simulated};
use clap::{Parser, Subcommand};

/// Scores slices on fake devices through Redis and measures everything around them
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  make scale\n  make scale SLICES=200\n  make scale SIMULATE=1000\n\nThe first takes some 6 GB in the folder for temporary files (TMPDIR). Measure on a machine that does nothing else, or say that it did."
)]
struct Cli {
    /// Slices to score, each in twelve rows with three seeds [default: 10000; simulated: twice the workers, in one row]
    #[arg(long)]
    slices: Option<usize>,
    /// Workers, a process each
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// So many workers in one process instead, on tiny slices: what a fleet asks of queue and coordinator
    #[arg(long, value_name = "WORKERS")]
    simulate: Option<usize>,
    /// Seconds of a shard on a simulated worker
    #[arg(long, default_value_t = 20.0)]
    shard_seconds: f64,
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
    Work {
        #[arg(long)]
        queue: String,
        #[arg(long)]
        workers: usize,
        #[arg(long, env = ENVIRONMENT, default_value = "")]
        faults: FaultSpec,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Part::Work {
        queue,
        workers,
        faults,
    }) = &cli.part
    {
        let done = anofpdm_common::telemetry::init()
            .map_err(anyhow::Error::from)
            .and_then(|()| simulated::work(queue, *workers, faults));
        anofpdm_worker::exit::conclude(done);
    }
    let workers = match cli.simulate {
        Some(count) => Workers::Simulated(count),
        None => Workers::Processes(cli.workers),
    };
    let (slices, evaluation) = match workers {
        Workers::Processes(_) => (10_000, Duration::ZERO),
        Workers::Simulated(count) => (
            2 * count,
            Duration::from_secs_f64(cli.shard_seconds.clamp(0.0, 600.0))
                / calls_of_a_batch(workers),
        ),
    };
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupt)) {
            eprintln!("error: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    let size = Size {
        slices: cli.slices.unwrap_or(slices),
        workers,
        evaluation,
    };
    let figures = measure(&size, &interrupt);
    if cli.json {
        println!("{}", serde_json::json!(figures));
    } else {
        print(&figures);
    }
    ExitCode::SUCCESS
}

#[allow(clippy::cast_precision_loss)]
fn print(figures: &Figures) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let millis = |seconds: f64| format!("{:.1} ms", 1e3 * seconds);
    let full = &figures.at_full_work;
    let shard = &figures.shard;
    let rows = [
        (
            "slices, workers, shards",
            format!(
                "{}, {}, {}",
                figures.slices, figures.workers, figures.shards
            ),
        ),
        ("scoring", format!("{:.1} s", figures.scoring_seconds)),
        (
            "slices x cells scored",
            format!("{} of {}", figures.scored, figures.planned),
        ),
        (
            "records and other artifacts",
            format!("{}, {}", figures.records, mib(figures.record_bytes)),
        ),
        (
            "coordinator: CPU until the last result",
            format!("{:.2} s", figures.coordinator_cpu),
        ),
        (
            "coordinator: most memory by then",
            mib(figures.coordinator_peak),
        ),
        (
            "coordinator: most open files",
            figures.coordinator_files.to_string(),
        ),
        (
            "/metrics: median, worst",
            format!(
                "{}, {}",
                millis(figures.scrape_median),
                millis(figures.scrape_worst)
            ),
        ),
        (
            "/metrics: series, bytes",
            format!("{}, {}", figures.series, figures.page_bytes),
        ),
        (
            "status: time, bytes of live.json",
            format!(
                "{}, {}",
                millis(figures.status_seconds),
                figures.status_bytes
            ),
        ),
        (
            "all workers let in after",
            format!("{:.1} s", figures.joined_seconds),
        ),
        ("at full work for", format!("{:.1} s", full.seconds)),
        ("  shards/s", format!("{:.1}", full.shards_per_second)),
        (
            "  transitions/s",
            format!("{:.0}", full.transitions_per_second),
        ),
        (
            "  time of a transition in Redis",
            format!("{:.1} us", full.transition_micros),
        ),
        (
            "  load of Redis",
            format!("{:.1} % of a core", 100.0 * full.server_load),
        ),
        (
            "  load of the coordinator",
            format!("{:.1} % of a core", 100.0 * full.coordinator_load),
        ),
        (
            "  coordinator's CPU a shard",
            format!("{:.2} ms", full.coordinator_shard_millis),
        ),
        ("shard: held", millis(shard.held)),
        ("shard: on the device", millis(shard.device)),
        ("shard: device waits for slices", millis(shard.wait)),
        ("shard: records, beside the device", millis(shard.records)),
        ("shard: CPU of the worker", millis(shard.cpu)),
        (
            "end of the stage",
            format!(
                "{:.1} s, {:.0} % of the workers idle",
                figures.stage_end_seconds,
                100.0 * figures.stage_end_idle
            ),
        ),
        (
            "from the last result to the report",
            format!("{:.1} s", figures.after_last_result),
        ),
        (
            "report: wall, CPU, memory",
            format!(
                "{:.1} s, {:.1} s, {}",
                figures.report_seconds,
                figures.report_cpu,
                mib(figures.report_peak)
            ),
        ),
        (
            "Redis: most load between two looks",
            format!("{:.0} % of a core", 100.0 * figures.server_load_worst),
        ),
        (
            "Redis: most memory, clients",
            format!("{}, {}", mib(figures.server_peak), figures.clients),
        ),
        (
            "workers: CPU, memory of all",
            format!(
                "{:.1} s, {}",
                figures.workers_cpu,
                mib(figures.workers_peak)
            ),
        ),
    ];
    let mut rows: Vec<(String, String)> = rows
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
    for (who, calls) in [
        ("workers", &figures.calls),
        ("coordinator", &figures.coordinator_calls),
    ] {
        for (name, (count, seconds)) in calls {
            let text = format!("{count}, {} each", millis(*seconds));
            rows.push((format!("{who}: call {name}"), text));
        }
    }
    for (name, text) in rows {
        println!("{name:<40} {text}");
    }
}
