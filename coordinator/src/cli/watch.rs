//! `anofpdm watch RUN`: what the coordinator does, as long as it does it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anofpdm_common::plan::Stage;
use clap::Args;
use console::Term;

use super::live_view::{self, printable_text};
use super::operator;
use super::standing::{Standing, State};
use crate::ledger::journal::read_ledger;
use crate::readable;
use crate::run::operators::snapshot::{RunOutcome, Snapshot};
use crate::run::signals::Interrupt;
use crate::run_folder::RunFolder;

const LOOK_EVERY: Duration = Duration::from_secs(1);

const LISTEN_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm watch demo\n\nOn a terminal the view is drawn anew each second; elsewhere a line is printed whenever something changes.\nEnds with the run: exit code 0 when it finished, or had finished before, else 1. Ctrl-C ends the view, not the run."
)]
pub struct WatchArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print a JSON document a line, whenever something changes
    #[arg(long)]
    json: bool,
}

pub fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let folder = RunFolder::open(&args.run)?;
    let run = args.run.display();
    let standing = Standing::of(&folder)?;
    if standing.state == State::Finished {
        return finished(args, &standing);
    }
    let status = format!(
        "`{}` starts one, `anofpdm status {run}` says where it stands",
        operator::go_on(&standing)
    );
    operator::need_coordinator(&folder, &args.run, &status)?;
    let mut view = if args.json {
        View::Json(None)
    } else if io::IsTerminal::is_terminal(&io::stdout()) {
        View::Drawn(Drawn {
            term: Term::buffered_stdout(),
            lines: 0,
            name: standing.name(),
            done: None,
        })
    } else {
        View::Lines(None)
    };
    let last = loop {
        // In this order: what is read after the end is the last word.
        let running = folder.is_locked()?;
        let live = Snapshot::read(&folder)?;
        if let Some(live) = &live {
            view.show(live, &folder)?;
        }
        if !running {
            break live;
        }
        let look = Instant::now() + LOOK_EVERY;
        while Instant::now() < look {
            interrupt.check()?;
            std::thread::sleep(LISTEN_EVERY);
        }
    };
    let ended = last.and_then(|live| live.ended);
    match ended {
        Some(ended) if ended.outcome == RunOutcome::Finished => {
            if !args.json {
                println!("{run} has finished: {}", printable_text(&ended.message));
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(ended) => anyhow::bail!("{run} has ended: {}", printable_text(&ended.message)),
        None => anyhow::bail!(
            "the coordinator of {run} is gone without a last word: it was killed; `{}` goes on from what is finished",
            operator::go_on(&standing)
        ),
    }
}

/// Of a run that has finished there is the end to see.
fn finished(args: &WatchArgs, standing: &Standing) -> anyhow::Result<ExitCode> {
    match &standing.live {
        Some(live) if args.json => println!("{}", serde_json::to_string(live)?),
        _ if args.json => {}
        _ => println!(
            "{} has finished: its report is in {}",
            args.run.display(),
            standing.folder.join("report").display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

enum View {
    /// Drawn anew each time.
    Drawn(Drawn),
    /// A line whenever something changes.
    Lines(Option<Snapshot>),
    /// The same in JSON.
    Json(Option<Snapshot>),
}

struct Drawn {
    term: Term,
    lines: usize,
    name: String,
    /// The stage at work, and those that are done; looked up in the journal when the stage changes.
    done: Option<(Option<Stage>, Vec<&'static str>)>,
}

impl Drawn {
    fn show(&mut self, live: &Snapshot, folder: &RunFolder) -> io::Result<()> {
        let mut lines = vec![self.heading(live)];
        let done = self.done(live, folder);
        if !done.is_empty() {
            lines.push(live_view::labelled("done", &done.join(", ")));
        }
        lines.extend(live_view::lines(live));
        let (rows, columns) = self.term.size();
        // The last row is the cursor's.
        let room = usize::from(rows).saturating_sub(1).max(1);
        self.term.clear_last_lines(self.lines)?;
        self.lines = lines.len().min(room);
        for line in lines.iter().take(room) {
            let line = console::truncate_str(line, usize::from(columns), "…");
            self.term.write_line(&line)?;
        }
        self.term.flush()
    }

    #[allow(clippy::cast_precision_loss)]
    fn heading(&self, live: &Snapshot) -> String {
        let since = live
            .time_millis
            .saturating_sub(live.coordinator.started_millis);
        format!(
            "{}: at work for {} on {}",
            self.name,
            readable::time(since as f64 / 1e3),
            live_view::printable(&live.coordinator.host)
        )
    }

    fn done(&mut self, live: &Snapshot, folder: &RunFolder) -> &[&'static str] {
        if self
            .done
            .as_ref()
            .is_none_or(|(stage, _)| *stage != live.stage)
        {
            // A journal that cannot be read now is read at the next stage.
            let ledger = read_ledger(folder).unwrap_or_default();
            let complete = |stage: &Stage| {
                let planned = ledger.planned.get(stage).map(|(_, records)| *records);
                let finished = ledger.finished.get(stage).copied();
                live.stage != Some(*stage) && planned.is_some_and(|all| finished >= Some(all))
            };
            let stages = [Stage::Train, Stage::Calibrate, Stage::Score];
            let done = stages.into_iter().filter(complete).map(Stage::name);
            self.done = Some((live.stage, done.collect()));
        }
        self.done.as_ref().map_or(&[], |(_, done)| done)
    }
}

impl View {
    fn show(&mut self, live: &Snapshot, folder: &RunFolder) -> io::Result<()> {
        match self {
            Self::Drawn(drawn) => drawn.show(live, folder),
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
        "{}; shards: {} wait, {} at work, {} to be tried again, {} done, {} given up; {} of {} workers at work",
        live_view::progress(live),
        shards.queued,
        shards.leased,
        shards.retrying,
        shards.done,
        shards.dead,
        live.workers_at_work(),
        live.workers_total()
    )
}
