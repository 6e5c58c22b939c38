//! `anofpdm-worker`: the program that runs on a device.
//!
//! Exit codes: 0 success, 1 failure, 2 bad usage, 3 a worker that must not be started again on this device
//! (retired by its coordinator, or the device is lost).

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anofpdm_common::error_text::error_text;
use anofpdm_worker::cli::bench::{self, args::BenchArgs};
use anofpdm_worker::cli::bench_train::{self, args::BenchTrainArgs};
use anofpdm_worker::cli::trace::{self, args::TraceArgs};
use anofpdm_worker::import::{self, args::ImportArgs};
use anofpdm_worker::service::ServiceError;
use anofpdm_worker::service::args::{self as service, RunArgs};
use anofpdm_worker::usage::UsageError;
use clap::{Parser, Subcommand};

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
    Trace(Box<TraceArgs>),
    Import(ImportArgs),
    BenchTrain(BenchTrainArgs),
    Bench(BenchArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = anofpdm_common::telemetry::init()
        .map_err(anyhow::Error::from)
        .and_then(|()| match cli.command {
            Command::Run(args) => service::run(&args),
            Command::Trace(args) => trace::run(&args),
            Command::Import(args) => import::run(&args),
            Command::BenchTrain(args) => bench_train::run(&args),
            Command::Bench(args) => bench::run(&args),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(ServiceError::Afresh)) => start_afresh(),
        Err(error) => {
            eprintln!("error: {}", error_text(error.as_ref()));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The first file descriptor behind standard input, output and error.
const FIRST_OF_LIBRARIES: i32 = 3;

/// Becomes this program again, with the same arguments: what libtorch and the device hold of a communicator whose
/// peers are gone cannot be trusted, and in part cannot be given up in any other way.
fn start_afresh() -> ExitCode {
    // Not every library marks its sockets: an open one would let a lost peer believe that this rank still lives.
    close_fds::set_fds_cloexec(FIRST_OF_LIBRARIES, &[]);
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = std::process::Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .exec();
    eprintln!("error: cannot start this worker afresh: {error}");
    ExitCode::FAILURE
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        2
    } else if error
        .downcast_ref()
        .is_some_and(ServiceError::ends_the_device)
    {
        3
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
