//! `anofpdm pause RUN`: no more shards are given out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::operator::{self, Heard};
use super::print_json;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm pause demo\n\nWorkers finish the shards they hold and are given no more. A training is one shard: it goes on to its end, and only\n`anofpdm cancel` stops it before, with a checkpoint. A pause outlives the coordinator: a run that is started\npaused waits for `anofpdm resume`."
)]
pub struct PauseArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let told = operator::set_paused(&args.run, true)?;
    if args.json {
        return print_json(&told);
    }
    let run = args.run.display();
    if !told.changed {
        println!("{run} is paused already");
    }
    match told.coordinator {
        Heard::TakenNote if told.training => println!(
            "paused, but a training is one shard and goes on: `anofpdm cancel {run}` stops it with a checkpoint; nothing else is begun until `anofpdm resume {run}`"
        ),
        Heard::TakenNote => println!(
            "paused: workers finish the shards they hold and are given no more until `anofpdm resume {run}`"
        ),
        Heard::NotYet => println!("{}", operator::not_yet(&args.run)),
        Heard::Nobody | Heard::Ended => println!(
            "no coordinator is at work on {run}: noted; the next `anofpdm run` starts paused, until `anofpdm resume {run}`"
        ),
    }
    Ok(ExitCode::SUCCESS)
}
