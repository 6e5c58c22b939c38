//! `anofpdm resume RUN`: shards are given out again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::operator::{self, Heard};
use super::print_json;

/// Arguments of `anofpdm resume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm resume demo\n\nGives out shards again after `anofpdm pause`. To go on with a run that has ended, run it again: `anofpdm run SPEC`."
)]
pub struct ResumeArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lets a paused run go on.
///
/// # Errors
/// When there is no such run, or its folder cannot be written to.
pub fn run(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let told = operator::set_paused(&args.run, false)?;
    if args.json {
        print_json(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let run = args.run.display();
    if !told.changed {
        println!("{run} was not paused");
    }
    match told.coordinator {
        Heard::TakenNote if told.changed => println!("resumed: shards are given out again"),
        Heard::TakenNote => {}
        Heard::NotYet => println!("{}", operator::not_yet(&args.run)),
        Heard::Nobody | Heard::Ended => println!(
            "no coordinator is at work on {run}: `anofpdm run` starts one, which goes on where the run is"
        ),
    }
    Ok(ExitCode::SUCCESS)
}
