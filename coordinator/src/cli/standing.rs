//! Where a run stands: what its folder, its coordinator and its report say together.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::setup::Setup;
use serde::{Deserialize, Serialize};

use crate::report::summary::Row;
use crate::run::operators::control_files;
use crate::run::operators::snapshot::{RunOutcome, Snapshot};
use crate::run_folder::RunFolder;

/// Largest `summary.json` read, bytes.
const SUMMARY_LIMIT: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub(super) enum State {
    Running,
    /// One is at work and gives out nothing.
    Paused,
    Finished,
    /// It has done what `--until` asked for.
    Partial,
    /// Stopped by a signal or a limit of time.
    Interrupted,
    /// Stopped by `anofpdm cancel`.
    Cancelled,
    Failed,
    /// Its coordinator is gone without a word.
    Killed,
    New,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// What can be said of a run without reading its journal.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) folder: PathBuf,
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
    pub(super) fn of(folder: &RunFolder) -> anyhow::Result<Self> {
        let live = Snapshot::read(folder).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        let running = folder.is_locked()?;
        let paused = control_files::is_paused(folder)?;
        let result = Quick::read(folder);
        let ended = live.as_ref().and_then(|live| live.ended.as_ref());
        let state = match (running, ended.map(|ended| ended.outcome)) {
            (true, _) if paused => State::Paused,
            (true, _) => State::Running,
            (false, Some(RunOutcome::Failed)) => State::Failed,
            (false, Some(RunOutcome::Interrupted)) => State::Interrupted,
            (false, Some(RunOutcome::Cancelled)) => State::Cancelled,
            (false, _) if result.is_some() => State::Finished,
            (false, Some(RunOutcome::Finished)) => State::Partial,
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
        // Of equals the first of the table: `max_by` takes the last it sees.
        let rows = self.rows.iter().rev();
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::run::operators::snapshot::Ended;
    use crate::run::operators::status_file::StatusFile;
    use crate::run::signals::Interrupted;

    const SPEC: &str = "name = \"x\"\n[data]\nstore = \"s\"\n[model.guided]\npreset = \"paper\"\n\
        [model.guided.train]\n[score]\nmethods = [\"anofpdm-ddim\"]\nguidance = [2]\n";

    fn summary(rows: &[(&str, f64, bool)]) -> String {
        let value =
            |mean: f64| format!(r#"{{"mean":{mean},"std":null,"per_seed":[],"ci95":null}}"#);
        let rows = rows.iter().map(|(method, dice, labels)| {
            let [dice, other] = [*dice, 0.0].map(value);
            format!(
                r#"{{"method":"{method}","guidance":2.0,"setup":"unhealthy","seeds":[0],"dice":{dice},"iou":{other},"auprc":{other},"auprc_batch":{other},"pixel_labels":{labels},"undefined_maps":0}}"#
            )
        });
        let rows = rows.collect::<Vec<_>>().join(",");
        format!(
            r#"{{"fingerprint":"{}","rows":[{rows}],"later":1}}"#,
            Digest::of(b"f")
        )
    }

    #[test]
    fn a_run_says_where_it_stands_at_every_turn() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("elsewhere");
        fs::create_dir_all(root.join("report")).unwrap();
        fs::write(root.join("spec.toml"), SPEC).unwrap();
        let folder = RunFolder::open(&root).unwrap();
        let state = || Standing::of(&folder).unwrap().state;
        assert_eq!(state(), State::New);
        assert_eq!(
            Standing::of(&folder).unwrap().name(),
            format!("{} (spec x)", root.display())
        );

        let lock = folder.lock().unwrap();
        let live = StatusFile::start(&folder, "x-1");
        assert_eq!(state(), State::Running);
        control_files::set_paused(&folder, true).unwrap();
        assert_eq!(state(), State::Paused);
        control_files::set_paused(&folder, false).unwrap();
        drop(lock);
        assert_eq!(state(), State::Killed, "no last word");
        live.end(Ended::with_error(&Interrupted::TimeIsUp));
        assert_eq!(state(), State::Interrupted);
        let end = |ended: Ended| StatusFile::start(&folder, "x-1").end(ended);
        end(Ended::with_error(&control_files::Cancelled));
        assert_eq!(state(), State::Cancelled);
        end(Ended::with_error(&std::io::Error::other("no")));
        assert_eq!(state(), State::Failed);
        end(Ended::finished("train is done, as was asked for"));
        assert_eq!(state(), State::Partial);
        let rows = [
            ("poor", 0.1, false),
            ("best", 0.7212, false),
            ("tuned", 0.9, true),
        ];
        fs::write(root.join("report/summary.json"), summary(&rows)).unwrap();
        let standing = Standing::of(&folder).unwrap();
        assert_eq!(standing.state, State::Finished);
        let result = standing.result.unwrap();
        assert_eq!(result.fingerprint, Digest::of(b"f"));
        assert_eq!(
            result.in_a_line().as_deref(),
            Some("best (w 2): unhealthy DICE 72.1")
        );
        // A report that this version cannot read is none.
        fs::write(root.join("report/summary.json"), "{}").unwrap();
        assert_eq!(state(), State::Partial);
        assert!(RunFolder::open(Path::new("/nonexistent")).is_err());
    }
}
