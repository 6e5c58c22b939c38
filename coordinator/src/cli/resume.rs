//! `anofpdm resume RUN`: shards are given out again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::operator::{self, Heard};
use super::print_json;
use super::standing::{Standing, State};
use crate::run_folder::RunFolder;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm resume demo\n\nGives out shards again after `anofpdm pause`. To go on with a run that has stopped, run it again: `anofpdm run RUN`."
)]
pub struct ResumeArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let told = operator::set_paused(&args.run, false)?;
    if args.json {
        return print_json(&told);
    }
    let run = args.run.display();
    if !told.changed {
        println!("{run} was not paused");
    }
    match told.coordinator {
        Heard::TakenNote if told.changed => println!("resumed: shards are given out again"),
        Heard::TakenNote => {}
        Heard::NotYet => println!("{}", operator::not_yet(&args.run)),
        Heard::Nobody | Heard::Ended => {
            let standing = Standing::of(&RunFolder::open(&args.run)?)?;
            if standing.state == State::Finished {
                println!("{run} is finished: there is nothing to go on with");
            } else {
                println!(
                    "nobody is at work on {run}; to go on where it stopped, type\n  {}",
                    operator::go_on(&standing)
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
