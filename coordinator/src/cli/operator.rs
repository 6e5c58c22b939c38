//! What the operator's commands share: a coordinator that works elsewhere, and whether it has taken note.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::drive::control::{self, Pending};
use crate::drive::live::Snapshot;
use crate::run_folder::RunFolder;

/// How long a command waits for the coordinator to take note.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of something the coordinator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Heard {
    /// It has taken note.
    TakenNote,
    /// It has not, within [`PATIENCE`]; it may yet.
    NotYet,
    /// It ended before it took note.
    Ended,
    /// None is at work.
    Nobody,
}

/// Waits for a moment until the coordinator has taken note.
///
/// # Errors
/// When the run folder cannot be looked at.
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
///
/// # Errors
/// When the run folder cannot be looked at.
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

/// For a command that only a coordinator at work can obey; `cure` says what to do without one.
///
/// # Errors
/// That nobody is at work.
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
    pub(super) coordinator: Heard,
}

/// Wants a run paused, or not, and waits for a moment until its coordinator obeys.
///
/// # Errors
/// When there is no such run, or its folder cannot be written to.
pub(super) fn set_paused(run: &Path, paused: bool) -> anyhow::Result<Told> {
    let folder = RunFolder::open(run)?;
    let changed = control::set_paused(&folder, paused)?;
    let coordinator = wait(&folder, || {
        // A file that cannot be read shows nothing yet.
        let live = Snapshot::read(&folder).ok().flatten();
        Ok::<_, anyhow::Error>(
            live.is_some_and(|live| live.ended.is_none() && live.paused == paused),
        )
    })?;
    Ok(Told {
        run: folder.root().to_path_buf(),
        paused,
        changed,
        coordinator,
    })
}
