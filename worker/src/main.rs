//! `anofpdm-worker`: the program that runs on a device.
//!
//! Its exit codes are those of [`exit`].

use anofpdm_common::shell::{self, ShellCommand};
use anofpdm_worker::cli::bench::{self, args::BenchArgs};
use anofpdm_worker::cli::bench_train::{self, args::BenchTrainArgs};
use anofpdm_worker::cli::predict::{self, PredictArgs};
use anofpdm_worker::cli::selftest::{
    self,
    args::{RankArgs, SelftestArgs},
    rank,
};
use anofpdm_worker::cli::trace::{self, args::TraceArgs};
use anofpdm_worker::cli::version;
use anofpdm_worker::exit;
use anofpdm_worker::import::{self, args::ImportArgs};
use anofpdm_worker::shim::environment;
use anofpdm_worker::worker_loop::args::{self as worker_loop, RunArgs};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "anofpdm-worker",
    version,
    propagate_version = true,
    about = "Runs anofpdm's networks on one device"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Predict(Box<PredictArgs>),
    Trace(Box<TraceArgs>),
    Import(ImportArgs),
    BenchTrain(BenchTrainArgs),
    Bench(BenchArgs),
    Selftest(SelftestArgs),
    #[command(flatten)]
    Shell(ShellCommand),
    #[command(hide = true)]
    SelftestRank(RankArgs),
}

fn main() {
    // Before there is any other thread.
    environment::prepare();
    let mut command = Cli::command();
    if version::is_asked_for(std::env::args()) {
        // Set by `make`. Here and nowhere else, so that another commit compiles next to nothing anew.
        command = command.long_version(version::details(option_env!("ANOFPDM_COMMIT")));
    }
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let done = anofpdm_common::telemetry::init()
        .map_err(anyhow::Error::from)
        .and_then(|()| match cli.command {
            Command::Run(args) => worker_loop::run(&args),
            Command::Predict(args) => predict::run(&args),
            Command::Trace(args) => trace::run(&args),
            Command::Import(args) => import::run(&args),
            Command::BenchTrain(args) => bench_train::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Selftest(args) => selftest::run(&args),
            Command::Shell(args) => Ok(shell::run(&args, Cli::command())?),
            Command::SelftestRank(args) => rank::run(&args),
        });
    exit::conclude(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples that help would break are not what they show once they are pasted.
    #[test]
    fn examples_in_help_fit_eighty_columns_and_every_command_tells_its_version() {
        let mut command = Cli::command();
        command.build();
        let mut seen = 0;
        for command in command
            .get_subcommands()
            .filter(|one| one.get_name() != "help")
        {
            assert!(command.get_version().is_some(), "{}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string);
            for line in help.iter().flat_map(|help| help.lines()) {
                if line.starts_with("  ") {
                    seen += 1;
                    assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
                }
            }
        }
        assert!(seen > 20, "{seen} lines");
    }
}
