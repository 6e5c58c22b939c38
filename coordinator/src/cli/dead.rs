//! `anofpdm dead ls|show|retry RUN`: shards given up until a person looks at them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::UsageError;
use super::live_view::{dead_line, printable, printable_text};
use super::operator::{self, Heard};
use super::print_json;
use crate::run::operators::control_files::{self, DeadShards, MOST_SHARDS};
use crate::run::operators::snapshot::{Dead, Snapshot};
use crate::run_folder::RunFolder;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm dead ls demo\n  anofpdm dead show demo 17\n  anofpdm dead retry demo --all"
)]
pub struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// The dead shards of the coordinator at work, or of the last one
    Ls(LsArgs),
    /// One of them with its whole error
    Show(ShowArgs),
    /// Offer dead shards again, their counters at zero
    Retry(RetryArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm dead ls demo --json")]
struct LsArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm dead show demo 17")]
struct ShowArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Number of the shard, from `anofpdm dead ls`
    shard: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm dead retry demo 17 23\n  anofpdm dead retry demo --all\n\nFor a run that has ended nothing is to be retried: `anofpdm run` offers every unfinished shard again."
)]
struct RetryArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Numbers of the shards, from `anofpdm dead ls`
    #[arg(required_unless_present = "all")]
    shards: Vec<u64>,
    /// All dead shards
    #[arg(long, conflicts_with = "shards")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Letters<'a> {
    run: &'a Path,
    running: bool,
    dead: &'a [Dead],
    more_dead: u64,
}

#[derive(Debug, Serialize)]
struct Retried<'a> {
    run: &'a Path,
    shards: u64,
    /// None when there was nothing to ask for.
    coordinator: Option<Heard>,
}

pub fn run(args: &DeadArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        DeadCommand::Ls(args) => ls(args),
        DeadCommand::Show(args) => show(args),
        DeadCommand::Retry(args) => retry(args),
    }
}

fn ls(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let running = folder.is_locked()?;
    let live = Snapshot::read(&folder)?;
    let (dead, more_dead) = live
        .as_ref()
        .map_or((&[][..], 0), |live| (&live.dead[..], live.more_dead));
    if args.json {
        return print_json(&Letters {
            run: folder.root(),
            running,
            dead,
            more_dead,
        });
    }
    if dead.is_empty() {
        println!("{} has no dead shards", args.run.display());
        return Ok(ExitCode::SUCCESS);
    }
    for letter in dead {
        println!("{}", dead_line(letter));
    }
    if more_dead > 0 {
        println!("and {more_dead} more");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let live = Snapshot::read(&folder)?;
    let letter = live
        .iter()
        .flat_map(|live| &live.dead)
        .find(|letter| letter.shard == args.shard)
        .ok_or_else(|| {
            UsageError(format!(
                "shard {} is not among the dead shards listed for {run}; `anofpdm dead ls {run}` lists them",
                args.shard,
                run = args.run.display()
            ))
        })?;
    if args.json {
        return print_json(letter);
    }
    println!("shard      {}", letter.shard);
    if let Some(job) = &letter.job {
        println!("job        {}", printable(job));
    }
    println!("class      {}", printable(&letter.class));
    println!(
        "failed     {} errors, {} crashes",
        letter.errors, letter.crashes
    );
    println!("worker     {}", printable(&letter.worker));
    if letter.message.is_empty() {
        println!(
            "error      none was reported: its workers died, or were silent for too long; their logs say more ({} of local ones)",
            folder.root().join("logs").display()
        );
    } else {
        println!("error      {}", printable_text(&letter.message));
    }
    if letter.cut_bytes > 0 {
        println!("           … and {} more bytes", letter.cut_bytes);
    }
    Ok(ExitCode::SUCCESS)
}

fn retry(args: &RetryArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    operator::need_coordinator(
        &folder,
        &args.run,
        "nobody could offer a shard again; `anofpdm run` offers every unfinished shard again, dead ones too",
    )?;
    let live = Snapshot::read(&folder)?;
    let (wanted, count) = wanted(args, live.as_ref())?;
    let heard = match count {
        0 => None,
        _ => Some(ask(&folder, &wanted)?),
    };
    if args.json {
        return print_json(&Retried {
            run: folder.root(),
            shards: count,
            coordinator: heard,
        });
    }
    match heard {
        None => println!("{} has no dead shards", args.run.display()),
        Some(Heard::TakenNote) => println!("{count} dead shard(s) are offered again"),
        Some(Heard::NotYet) => println!("{}", operator::not_yet(&args.run)),
        Some(Heard::Nobody | Heard::Ended) => println!(
            "the run ended before its coordinator took note; `anofpdm run` offers every unfinished shard again"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(folder: &RunFolder, wanted: &DeadShards) -> anyhow::Result<Heard> {
    let pending = control_files::ask_to_retry(folder, wanted)?;
    operator::wait_or_withdraw(folder, pending)
}

/// Which shards are to be retried, and how many that are.
fn wanted(args: &RetryArgs, live: Option<&Snapshot>) -> Result<(DeadShards, u64), UsageError> {
    if args.all {
        return Ok((DeadShards::All, live.map_or(0, Snapshot::dead_total)));
    }
    let shards: BTreeSet<u64> = args.shards.iter().copied().collect();
    if shards.len() > MOST_SHARDS {
        return Err(UsageError(format!(
            "{} shards are named: {MOST_SHARDS} at a time are supported; --all takes all there are",
            shards.len()
        )));
    }
    let listed: BTreeSet<u64> = live
        .iter()
        .flat_map(|live| &live.dead)
        .map(|letter| letter.shard)
        .collect();
    let all_listed = live.is_none_or(|live| live.more_dead == 0);
    if all_listed && let Some(alive) = shards.difference(&listed).next() {
        return Err(UsageError(format!(
            "shard {alive} is not dead; `anofpdm dead ls {}` lists those that are",
            args.run.display()
        )));
    }
    let count = shards.len() as u64;
    Ok((DeadShards::These(shards), count))
}
