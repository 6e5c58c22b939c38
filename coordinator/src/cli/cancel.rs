//! `anofpdm cancel RUN`: ends a run from elsewhere, in good order.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::operator::{self, Heard};
use super::print_json;
use crate::run::operators::control_files;
use crate::run_folder::RunFolder;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm cancel demo\n\nThe coordinator takes every open shard out of the queue, lets its workers go, and ends with exit code 130.\nWhat is finished is kept: `anofpdm run` goes on from there."
)]
pub struct CancelArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Asked {
    run: PathBuf,
    coordinator: Heard,
}

pub fn run(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    operator::need_coordinator(
        &folder,
        &args.run,
        "there is nothing to cancel; what is finished is kept, and `anofpdm run` goes on from there",
    )?;
    let pending = control_files::ask_to_cancel(&folder)?;
    let heard = operator::wait_or_withdraw(&folder, pending)?;
    if args.json {
        return print_json(&Asked {
            run: folder.root().to_path_buf(),
            coordinator: heard,
        });
    }
    match heard {
        Heard::TakenNote => println!(
            "cancelled: the coordinator takes out what is open and ends; `anofpdm run` goes on from what is finished"
        ),
        Heard::NotYet => println!("{}", operator::not_yet(&args.run)),
        Heard::Nobody | Heard::Ended => {
            println!("the run ended by itself before its coordinator took note");
        }
    }
    Ok(ExitCode::SUCCESS)
}
