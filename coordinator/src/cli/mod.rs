//! The command line: one file a command.

pub mod cancel;
pub mod compare;
pub mod dead;
pub mod demo;
pub mod export;
pub mod failure;
pub mod gc;
mod live_view;
pub mod metrics;
mod operator;
pub mod outcome;
pub mod pause;
pub mod phantom;
pub mod plan;
pub mod predict;
pub mod preprocess;
pub mod report;
pub mod resume;
pub mod run;
pub mod runs;
pub mod spec_args;
mod standing;
pub mod status;
pub mod upload;
pub mod watch;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anofpdm_common::shell::{self, ShellCommand};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::run::signals::end_when_nobody_reads;
use crate::version;

/// Benchmarks weakly-supervised anomaly segmentation on brain MRI with diffusion models.
#[derive(Debug, Parser)]
#[command(name = "anofpdm", version, propagate_version = true)]
#[command(
    after_help = "Start here:\n  anofpdm demo                      the whole pipeline on a phantom, in minutes\n  anofpdm preprocess DATA STORE --layout brats\n  anofpdm run examples/brats13-small.toml\n\nLogs: ANOFPDM_LOG=debug. Exit codes: 0 success, 1 failure, 2 bad usage or bad spec,\n130 interrupted."
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
    /// A slice store into an object store
    Upload(upload::UploadArgs),
    /// Dry run: stages, shards, network evaluations, disk
    Plan(plan::PlanArgs),
    /// The whole benchmark; run again to resume
    Run(run::RunArgs),
    /// The runs there are, and how each ended
    Runs(runs::RunsArgs),
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
    /// Runs beside each other: in what they differ, and whether their numbers do
    Compare(compare::CompareArgs),
    /// The tables of a report as CSV or Parquet, for other programs
    Export(export::ExportArgs),
    /// The metric definitions of this project applied to your own arrays
    Metrics(metrics::MetricsArgs),
    /// Maps and masks of other volumes by a run's method
    Predict(predict::PredictArgs),
    /// What run folders and caches hold, and what can go
    Gc(gc::GcArgs),
    #[command(flatten)]
    Shell(ShellCommand),
}

impl Command {
    /// True for what takes time and must get done, whether or not anybody reads what it prints.
    const fn works(&self) -> bool {
        matches!(
            self,
            Self::Demo(_)
                | Self::Phantom(_)
                | Self::Preprocess(_)
                | Self::Upload(_)
                | Self::Run(_)
                | Self::Predict(_)
        )
    }
}

/// Parses the command line and does what it says. `commit` is that of the source, where the build was told.
pub fn main(commit: Option<&str>) -> anyhow::Result<ExitCode> {
    version::built_of(commit);
    let commit = commit.unwrap_or("not told by the build");
    let version = format!("{}\ncommit {commit}", env!("CARGO_PKG_VERSION"));
    let matches = Cli::command().long_version(version).get_matches();
    let Cli { command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if !command.works() {
        end_when_nobody_reads()?;
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Phantom(args) => phantom::run(&args),
        Command::Preprocess(args) => preprocess::run(&args),
        Command::Upload(args) => upload::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Pause(args) => pause::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Cancel(args) => cancel::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Shell(args) => {
            shell::run(&args, Cli::command())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(value)?;
    match writeln!(io::stdout(), "{text}") {
        // Nobody reads any more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        done => done?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples that help would break are not what they show once they are pasted.
    #[test]
    fn examples_in_help_fit_eighty_columns() {
        fn look(command: &clap::Command, seen: &mut usize) {
            let help = command.get_after_help().map(ToString::to_string);
            for line in help.iter().flat_map(|help| help.lines()) {
                if line.starts_with("  ") {
                    *seen += 1;
                    let width = console::measure_text_width(line);
                    assert!(width <= 80, "{}: {line}", command.get_name());
                }
            }
            for command in command.get_subcommands() {
                look(command, seen);
            }
        }
        let mut seen = 0;
        look(&Cli::command(), &mut seen);
        assert!(seen > 20, "{seen} examples");
        Cli::command().debug_assert();
    }
}
