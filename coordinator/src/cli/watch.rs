//! `anofpdm watch RUN`: what the coordinator does, as long as it does it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use console::Term;

use super::live_view::{self, printable_text};
use super::operator;
use crate::drive::live::{Outcome, Snapshot};
use crate::drive::signals::{Interrupt, Interrupted};
use crate::run_folder::RunFolder;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks at signals.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `anofpdm watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm watch demo\n\nOn a terminal the view is drawn anew each second; elsewhere a line is printed whenever something changes.\nEnds with the run: exit code 0 when it finished, else 1. Ctrl-C ends the view, not the run."
)]
pub struct WatchArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print a JSON document a line, whenever something changes
    #[arg(long)]
    json: bool,
}

/// Shows the run until it ends.
///
/// # Errors
/// When there is no such run, nobody is at work on it, or it ends otherwise than finished.
pub fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let folder = RunFolder::open(&args.run)?;
    let status = format!(
        "`anofpdm run` starts one, `anofpdm status {}` says where it stands",
        args.run.display()
    );
    operator::need_coordinator(&folder, &args.run, &status)?;
    let mut view = if args.json {
        View::Json(None)
    } else if io::IsTerminal::is_terminal(&io::stdout()) {
        View::Drawn(Term::buffered_stdout(), 0)
    } else {
        View::Lines(None)
    };
    let last = loop {
        // In this order: what is read after the end is the last word.
        let running = folder.is_locked()?;
        let live = Snapshot::read(&folder)?;
        if let Some(live) = &live {
            view.show(live)?;
        }
        if !running {
            break live;
        }
        let look = Instant::now() + LOOK_EVERY;
        while Instant::now() < look {
            if interrupt.asked() {
                return Err(Interrupted.into());
            }
            std::thread::sleep(LISTEN_EVERY);
        }
    };
    let ended = last.and_then(|live| live.ended);
    let run = args.run.display();
    match ended {
        Some(ended) if ended.outcome == Outcome::Finished => {
            if !args.json {
                println!("{run} has finished: {}", printable_text(&ended.message));
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(ended) => anyhow::bail!("{run} has ended: {}", printable_text(&ended.message)),
        None => anyhow::bail!(
            "the coordinator of {run} is gone without a last word: it was killed; `anofpdm run` goes on from what is finished"
        ),
    }
}

/// Where and how it is shown.
enum View {
    /// A terminal, and how many lines were drawn on it.
    Drawn(Term, usize),
    /// A line whenever something changes.
    Lines(Option<Snapshot>),
    /// The same in JSON.
    Json(Option<Snapshot>),
}

impl View {
    fn show(&mut self, live: &Snapshot) -> io::Result<()> {
        match self {
            Self::Drawn(term, drawn) => {
                let (rows, columns) = term.size();
                let lines = live_view::lines(live);
                // The last row is the cursor's.
                let room = usize::from(rows).saturating_sub(1).max(1);
                term.clear_last_lines(*drawn)?;
                *drawn = lines.len().min(room);
                for line in lines.iter().take(room) {
                    let line = console::truncate_str(line, usize::from(columns), "…");
                    term.write_line(&line)?;
                }
                term.flush()
            }
            Self::Lines(before) => {
                let mut out = io::stdout().lock();
                let line = plain_line(live);
                if before.as_ref().map(plain_line).as_ref() != Some(&line) {
                    writeln!(out, "{line}")?;
                }
                let known = |shard| {
                    let before = before.iter().flat_map(|before| &before.dead);
                    before.into_iter().any(|letter| letter.shard == shard)
                };
                for letter in live.dead.iter().filter(|letter| !known(letter.shard)) {
                    writeln!(out, "dead: {}", live_view::dead_line(letter))?;
                }
                *before = Some(live.clone());
                out.flush()
            }
            Self::Json(before) => {
                if before.as_ref() != Some(live) {
                    let mut out = io::stdout().lock();
                    writeln!(out, "{}", serde_json::to_string(live)?)?;
                    out.flush()?;
                    *before = Some(live.clone());
                }
                Ok(())
            }
        }
    }
}

/// What is worth a line of its own when it changes.
fn plain_line(live: &Snapshot) -> String {
    let shards = &live.shards;
    format!(
        "{}; shards: {} queued, {} leased, {} retrying, {} done, {} dead; {} of {} workers at work",
        live_view::progress(live),
        shards.queued,
        shards.leased,
        shards.retrying,
        shards.done,
        shards.dead,
        live_view::at_work(live),
        live.workers_total()
    )
}
