//! Where a run stands: what its folder, its coordinator and its report say together.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::setup::Setup;
use serde::{Deserialize, Serialize};

use crate::drive::control;
use crate::drive::live::{Outcome, Snapshot};
use crate::report::summary::Row;
use crate::run_folder::RunFolder;

/// Largest `summary.json` read, bytes.
const SUMMARY_LIMIT: u64 = 64 << 20;

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// A coordinator is at work.
    Running,
    /// One is at work and gives out nothing.
    Paused,
    /// The report is written.
    Finished,
    /// It has done what `--until` asked for.
    Partial,
    /// Stopped by a signal or a limit of time.
    Interrupted,
    /// Stopped by `anofpdm cancel`.
    Cancelled,
    /// Stopped by an error.
    Failed,
    /// Its coordinator is gone without a word.
    Killed,
    /// Nobody has worked on it yet.
    New,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::New => "new",
        }
    }
}

/// What can be said of a run without reading its journal.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) folder: PathBuf,
    /// Name in the spec.
    pub(super) run: String,
    pub(super) state: State,
    /// Operators want it paused, whether or not somebody is at work.
    pub(super) paused: bool,
    pub(super) result: Option<Quick>,
    pub(super) live: Option<Snapshot>,
}

/// What is read of a report at a glance.
#[derive(Debug, Deserialize)]
pub(super) struct Quick {
    pub(super) fingerprint: Digest,
    rows: Vec<Row>,
}

impl Standing {
    /// # Errors
    /// When the folder cannot be looked at, or its spec is broken.
    pub(super) fn of(folder: &RunFolder) -> anyhow::Result<Self> {
        let live = Snapshot::read(folder).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        let running = folder.is_locked()?;
        let paused = control::is_paused(folder)?;
        let result = Quick::read(folder);
        let ended = live.as_ref().and_then(|live| live.ended.as_ref());
        let state = match (running, ended.map(|ended| ended.outcome)) {
            (true, _) if paused => State::Paused,
            (true, _) => State::Running,
            (false, Some(Outcome::Failed)) => State::Failed,
            (false, Some(Outcome::Interrupted)) => State::Interrupted,
            (false, Some(Outcome::Cancelled)) => State::Cancelled,
            (false, _) if result.is_some() => State::Finished,
            (false, Some(Outcome::Finished)) => State::Partial,
            (false, None) if live.is_some() => State::Killed,
            (false, None) => State::New,
        };
        Ok(Self {
            folder: folder.root().to_path_buf(),
            run: folder.spec()?.name,
            state,
            paused,
            result,
            live,
        })
    }

    pub(super) const fn running(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// The folder, and the name in the spec where it is another.
    pub(super) fn name(&self) -> String {
        let folder = self.folder.display();
        match self.folder.file_name() {
            Some(name) if *name == *self.run => folder.to_string(),
            _ => format!("{folder} (spec {})", self.run),
        }
    }
}

impl Quick {
    /// None where there is no report, or one that this version cannot read.
    fn read(folder: &RunFolder) -> Option<Self> {
        let mut text = Vec::new();
        let file = File::open(folder.report().join("summary.json")).ok()?;
        file.take(SUMMARY_LIMIT).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::debug!(%error, "a report that cannot be read"))
            .ok()
    }

    /// The best row that needed no pixel labels.
    pub(super) fn in_a_line(&self) -> Option<String> {
        let dice = |row: &&Row| row.dice.mean;
        let rows = self.rows.iter();
        let best = rows
            .filter(|row| row.setup == Setup::Unhealthy && !row.seeds.is_empty())
            .filter(|row| !row.pixel_labels && row.dice.mean.is_some())
            .max_by(|a, b| {
                dice(a)
                    .partial_cmp(&dice(b))
                    .unwrap_or(std::cmp::Ordering::Equal)
            })?;
        let strength = best
            .guidance
            .map(|w| format!(" (w {w})"))
            .unwrap_or_default();
        Some(format!(
            "{}{strength}: unhealthy DICE {:.1}",
            best.method,
            100.0 * best.dice.mean?
        ))
    }
}
