//! What the operator's commands share: a coordinator that works elsewhere, and whether it has taken note.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anofpdm_common::plan::Stage;
use serde::Serialize;

use super::live_view::printable;
use super::standing::Standing;
use crate::run::operators::control_files::{self, Pending};
use crate::run::operators::snapshot::Snapshot;
use crate::run_folder::RunFolder;

/// How long a command waits for the coordinator to take note.
const PATIENCE: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of something the coordinator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Heard {
    TakenNote,
    /// It has not, within [`PATIENCE`]; it may yet.
    NotYet,
    /// It ended before it took note.
    Ended,
    /// None is at work.
    Nobody,
}

/// Waits for a moment until the coordinator has taken note.
pub(super) fn wait<E: Into<anyhow::Error>>(
    folder: &RunFolder,
    taken: impl Fn() -> Result<bool, E>,
) -> anyhow::Result<Heard> {
    if !folder.is_locked()? {
        return Ok(Heard::Nobody);
    }
    let started = Instant::now();
    loop {
        // In this order: a coordinator that took note and ended at once has taken note.
        let ended = !folder.is_locked()?;
        if taken().map_err(Into::into)? {
            return Ok(Heard::TakenNote);
        }
        if ended {
            return Ok(Heard::Ended);
        }
        if started.elapsed() >= PATIENCE {
            return Ok(Heard::NotYet);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The same for a request, which is taken back when nobody is left to take note of it.
pub(super) fn wait_or_withdraw(folder: &RunFolder, request: Pending) -> anyhow::Result<Heard> {
    let heard = wait(folder, || request.is_taken())?;
    if matches!(heard, Heard::Ended | Heard::Nobody) && !request.withdraw()? {
        return Ok(Heard::TakenNote);
    }
    Ok(heard)
}

/// The words for [`Heard::NotYet`].
pub(super) fn not_yet(run: &Path) -> String {
    format!(
        "asked, but the coordinator has not taken note within {} s: it may be busy between two stages, and takes note then (`anofpdm status {}` shows what it does)",
        PATIENCE.as_secs(),
        run.display()
    )
}

/// What to type so that a run that has ended goes on. Devices and caches are for whoever types it to add.
pub(super) fn go_on(standing: &Standing) -> String {
    let queue = standing
        .live
        .as_ref()
        .and_then(|live| live.queue.as_deref());
    let queue = queue.filter(|address| address.starts_with("redis"));
    let queue = queue.map(|address| format!(" --queue {}", shell_word(&printable(address))));
    format!(
        "anofpdm run{} {}",
        queue.unwrap_or_default(),
        shell_word(&standing.folder.display().to_string())
    )
}

/// A word that a shell takes as it stands.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        return text.to_owned();
    }
    let quoted = format!("'{}'", text.replace('\'', r"'\''"));
    match text.starts_with('-') {
        // Not an option.
        true => format!("-- {quoted}"),
        false => quoted,
    }
}

/// For a command that only a coordinator at work can obey; `cure` says what to do without one.
pub(super) fn need_coordinator(folder: &RunFolder, run: &Path, cure: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        folder.is_locked()?,
        "no coordinator is at work on {}: {cure}",
        run.display()
    );
    Ok(())
}

/// A pause or its end, and who knows of it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) run: PathBuf,
    pub(super) paused: bool,
    /// False when it was so already.
    pub(super) changed: bool,
    /// A training is under way: one shard, which goes on.
    pub(super) training: bool,
    pub(super) coordinator: Heard,
}

/// Wants a run paused, or not, and waits for a moment until its coordinator obeys.
pub(super) fn set_paused(run: &Path, paused: bool) -> anyhow::Result<Told> {
    let folder = RunFolder::open(run)?;
    let changed = control_files::set_paused(&folder, paused)?;
    let coordinator = wait(&folder, || {
        // A file that cannot be read shows nothing yet.
        let live = Snapshot::read(&folder).ok().flatten();
        Ok::<_, anyhow::Error>(
            live.is_some_and(|live| live.ended.is_none() && live.paused == paused),
        )
    })?;
    let live = Snapshot::read(&folder).ok().flatten();
    let training =
        live.is_some_and(|live| live.stage == Some(Stage::Train) && live.shards.leased > 0);
    Ok(Told {
        run: folder.root().to_path_buf(),
        paused,
        changed,
        training: training && coordinator == Heard::TakenNote,
        coordinator,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_can_be_pasted() {
        assert_eq!(shell_word("runs/brats13-small"), "runs/brats13-small");
        assert_eq!(shell_word("my runs/a"), "'my runs/a'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("-x"), "-- '-x'");
    }
}
