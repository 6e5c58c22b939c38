//! `anofpdm-fake-worker`: `anofpdm-worker run` with cheap arithmetic in place of the networks, for tests and drills.
//!
//! `ANOFPDM_WORKER=target/release/anofpdm-fake-worker anofpdm run …` starts such workers.

use anofpdm_tests::fake::FakeBackend;
use anofpdm_tests::fake::faults::{ENVIRONMENT, FaultSpec};
use anofpdm_worker::exit;
use anofpdm_worker::worker_loop::args::{RunArgs, run_on};
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "Computes next to nothing, the same everywhere, and fails on request"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(FakeRunArgs),
}

const AFTER_HELP: &str = "Faults, for instance seed=3,delay_ms=5,error=0.02,oom=0.02,crash=0.01,lost=0.001,flip=0.01:
delay_ms is the duration of a network evaluation or training step; the others are probabilities for one batch: a
transient error, out of memory (until memory was freed once; at 1 always), the process aborts, the device is lost, a bit
of a result is wrong.";

/// Take jobs from a queue as `anofpdm-worker run` does; --device is taken and not used
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
struct FakeRunArgs {
    #[command(flatten)]
    run: RunArgs,
    /// What goes wrong
    #[arg(long, env = ENVIRONMENT, default_value = "", hide_default_value = true)]
    faults: FaultSpec,
}

fn main() {
    let Command::Run(args) = Cli::parse().command;
    let done = anofpdm_common::telemetry::init()
        .map_err(anyhow::Error::from)
        .and_then(|()| run_on(&args.run, |_| Ok(FakeBackend::new(&args.faults))));
    exit::conclude(done)
}
