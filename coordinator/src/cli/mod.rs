//! The command line (DESIGN 3): one file a command.

pub mod cancel;
pub mod dead;
pub mod demo;
pub mod failure;
pub mod gc;
mod live_view;
pub mod metrics;
mod operator;
pub mod pause;
pub mod phantom;
pub mod plan;
pub mod preprocess;
pub mod report;
pub mod resume;
pub mod run;
pub mod status;
pub mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks weakly-supervised anomaly segmentation on brain MRI with diffusion models.
#[derive(Debug, Parser)]
#[command(name = "anofpdm", version, propagate_version = true)]
#[command(
    after_help = "Start here:\n  anofpdm demo                      the whole pipeline on a phantom, in minutes\n  anofpdm preprocess DATA STORE --layout brats\n  anofpdm run examples/brats13-small.toml\n\nLogs: ANOFPDM_LOG=debug. Exit codes: 0 success, 1 failure, 2 bad usage or bad spec, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole pipeline on a phantom: generate, preprocess, train, calibrate, score, report
    Demo(demo::DemoArgs),
    /// Write a synthetic data set as NIfTI in the real folder layout
    Phantom(phantom::PhantomArgs),
    /// NIfTI volumes to a slice store
    Preprocess(preprocess::PreprocessArgs),
    /// Dry run: stages, shards, network evaluations, disk
    Plan(plan::PlanArgs),
    /// The whole benchmark; run again to resume
    Run(run::RunArgs),
    /// Where a run stands, and what its coordinator and workers do
    Status(status::StatusArgs),
    /// The same, live, until the run ends
    Watch(watch::WatchArgs),
    /// Give out no more shards of a run
    Pause(pause::PauseArgs),
    /// Give out the shards of a paused run again
    Resume(resume::ResumeArgs),
    /// End a run from elsewhere, in good order
    Cancel(cancel::CancelArgs),
    /// Shards that were given up: list, show, retry
    Dead(dead::DeadArgs),
    /// Tables again from the stored records
    Report(report::ReportArgs),
    /// The metric definitions of this project applied to your own arrays
    Metrics(metrics::MetricsArgs),
    /// What run folders and caches hold, and what can go
    Gc(gc::GcArgs),
}

/// Parses the command line and does what it says.
///
/// # Errors
/// Whatever the command could not do; [`failure::exit_code`] turns it into an exit code.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Phantom(args) => phantom::run(&args),
        Command::Preprocess(args) => preprocess::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Pause(args) => pause::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Cancel(args) => cancel::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Gc(args) => gc::run(&args),
    }
}

/// Prints a value as one pretty JSON document.
fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Columns of a line where nobody says how many there are.
const LINE: usize = 120;

/// Prints what keeps the numbers of a table from being quoted as they stand.
fn print_checks(summary: &crate::report::summary::Summary) {
    let width = console::Term::stdout()
        .size_checked()
        .map_or(LINE, |(_, columns)| usize::from(columns).min(LINE));
    println!();
    for line in crate::report::checks::lines(summary, width) {
        println!("{line}");
    }
}
