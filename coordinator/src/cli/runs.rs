//! `anofpdm runs`: the runs there are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anofpdm_common::plan::Stage;
use clap::Args;
use serde::Serialize;

use super::print_json;
use super::standing::{Standing, State};
use crate::known_runs;
use crate::readable;
use crate::run_folder::{RUNS, RunFolder};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm runs --json")]
pub struct RunsArgs {
    /// Folder of run folders
    #[arg(long, default_value = RUNS)]
    runs: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Entry {
    folder: PathBuf,
    run: String,
    /// None where the folder cannot be read.
    state: Option<State>,
    /// The stage at work, or the last one that was.
    stage: Option<Stage>,
    /// How far it is, in [0, 1].
    share: Option<f64>,
    /// When it last gave a sign of life, milliseconds of Unix time.
    time_millis: Option<u64>,
    /// The best row without pixel labels; else what is wrong.
    note: String,
}

pub fn run(args: &RunsArgs) -> anyhow::Result<ExitCode> {
    let names = known_runs::names(&args.runs);
    let mut entries: Vec<Entry> = names
        .iter()
        .map(|name| entry(&args.runs.join(name), name))
        .collect();
    // The newest last, where the eye is.
    entries.sort_by_key(|entry| entry.time_millis);
    if args.json {
        return print_json(&entries);
    }
    if entries.is_empty() {
        println!(
            "no run under {}/; `anofpdm demo` or `anofpdm run SPEC` makes one",
            args.runs.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["run", "state", "stage", "last sign of life", "result"].map(str::to_owned);
    let rows: Vec<Vec<String>> = entries.iter().map(Entry::cells).collect();
    for line in readable::table(&header, &rows, &[]) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(path: &Path, name: &str) -> Entry {
    let standing = RunFolder::open(path)
        .map_err(anyhow::Error::from)
        .and_then(|folder| Standing::of(&folder));
    let standing = match standing {
        Ok(standing) => standing,
        Err(error) => {
            return Entry {
                folder: path.to_path_buf(),
                run: name.to_owned(),
                state: None,
                stage: None,
                share: None,
                time_millis: None,
                note: error.to_string(),
            };
        }
    };
    let live = standing.live.as_ref();
    let time = live.map(|live| live.time_millis);
    let ended = live.and_then(|live| live.ended.as_ref());
    let failed = ended.filter(|_| standing.state == State::Failed);
    let result = standing
        .result
        .as_ref()
        .and_then(|result| result.in_a_line());
    Entry {
        folder: standing.folder.clone(),
        state: Some(standing.state),
        stage: live.and_then(|live| live.stage),
        share: live.and_then(|live| Some(live.work.as_ref()?.share())),
        time_millis: time.or_else(|| modified(path)),
        note: failed
            .map(|ended| ended.message.clone())
            .or(result)
            .unwrap_or_default(),
        run: standing.run,
    }
}

/// When a run of an older version, or one not begun, was made.
fn modified(run: &Path) -> Option<u64> {
    let time = std::fs::metadata(run.join("spec.toml"))
        .ok()?
        .modified()
        .ok()?;
    millis(time)
}

fn millis(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

impl Entry {
    /// A line of the list; a long reason is cut.
    fn cells(&self) -> Vec<String> {
        const SHOWN: usize = 60;
        let name = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let mut name = super::live_view::printable(&name);
        if self.state.is_some() && name != self.run {
            name.push_str(&format!(" (spec {})", self.run));
        }
        let stage = match (self.state, self.stage) {
            (None | Some(State::Finished | State::New), _) | (_, None) => String::new(),
            (_, Some(stage)) => format!(
                "{}, {:.0} %",
                stage.name(),
                100.0 * self.share.unwrap_or(0.0)
            ),
        };
        let now = millis(SystemTime::now()).unwrap_or(0);
        #[allow(clippy::cast_precision_loss)]
        let age = self.time_millis.map(|time| {
            let age = now.saturating_sub(time) as f64 / 1e3;
            format!("{} ago", readable::time(age))
        });
        let first = self.note.lines().next().unwrap_or_default();
        let note = super::live_view::printable(first);
        vec![
            name,
            self.state.map_or("broken", State::name).to_owned(),
            stage,
            age.unwrap_or_default(),
            console::truncate_str(&note, SHOWN, "…").into_owned(),
        ]
    }
}
