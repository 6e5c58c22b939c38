//! What operators ask of a coordinator at work, through small files in the run folder.
//!
//! ```text
//! RUN/control/
//!   paused             as long as it is there, no shard is given out
//!   request-….json     something to be done once; removed when the coordinator takes note of it
//! ```
//!
//! Files, since they reach a coordinator on whichever machine that shares the run folder, and need no port and no
//! password. Whoever may write into the folder may ask. A file is believed no further than that: its size is
//! limited, and what is no request is removed with a warning.
//!
//! `paused` is a state: it outlives the coordinator. A request is for the coordinator at work: the next one drops
//! what it finds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anofpdm_common::instance;
use anofpdm_common::store::durable::{self, DiskError};
use serde::{Deserialize, Serialize};

use crate::run::warn_once::WarnOnce;
use crate::run_folder::{RunFolder, RunLock};

/// Most shards one request may name.
pub const MOST_SHARDS: usize = 2_000;

/// Largest request, bytes.
const REQUEST_LIMIT: u64 = 64 << 10;

/// Files looked at in one turn.
const FILES_A_TURN: usize = 64;

/// Files looked at when a coordinator starts.
const FILES_AT_START: usize = 10_000;

/// A half-written request this old is nobody's any more.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

const PAUSED: &str = "paused";
const REQUEST_START: &str = "request-";
const REQUEST_END: &str = ".json";
const TEMPORARY_END: &str = ".tmp";

/// The run was ended by `anofpdm cancel`.
#[derive(Debug, thiserror::Error)]
#[error("cancelled by `anofpdm cancel`; run the same command again to go on")]
pub struct Cancelled;

/// Something an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Give out no more shards; leases go on.
    Pause,
    /// Give out shards again.
    Resume,
    /// Take out every open shard and end in good order.
    Cancel,
    Retry(DeadShards),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadShards {
    All,
    These(BTreeSet<u64>),
}

impl DeadShards {
    /// True when `shard` is meant.
    pub fn names(&self, shard: u64) -> bool {
        match self {
            Self::All => true,
            Self::These(shards) => shards.contains(&shard),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
enum RequestFile {
    Cancel {},
    RetryAll {},
    Retry { shards: BTreeSet<u64> },
}

impl From<RequestFile> for Order {
    fn from(request: RequestFile) -> Self {
        match request {
            RequestFile::Cancel {} => Self::Cancel,
            RequestFile::RetryAll {} => Self::Retry(DeadShards::All),
            RequestFile::Retry { shards } => Self::Retry(DeadShards::These(shards)),
        }
    }
}

/// The coordinator's end.
#[derive(Debug)]
pub struct ControlFiles {
    folder: PathBuf,
    paused: bool,
    /// The folder cannot be used.
    unusable: WarnOnce,
}

impl ControlFiles {
    /// Begins to listen, not paused. Whoever asked an earlier coordinator for something is not meant: call this as
    /// soon as the run is locked.
    pub fn open(folder: &RunFolder, _lock: &RunLock) -> Result<Self, DiskError> {
        let mut control = Self {
            folder: folder.control(),
            paused: false,
            unusable: WarnOnce::at_once(),
        };
        durable::create_dir(&control.folder)?;
        for order in control.requests(FILES_AT_START) {
            tracing::warn!(
                ?order,
                "dropped: it was asked of an earlier coordinator of this run"
            );
        }
        control.remove_leftovers();
        Ok(control)
    }

    /// What operators have asked for since the last call, in the order of asking. A run that is paused when its
    /// coordinator starts is told so by the first call. Cheap: looks at one small folder.
    pub fn poll(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        let paused = self.folder.join(PAUSED).try_exists();
        // A file system in trouble neither pauses nor resumes.
        let paused = paused.unwrap_or(self.paused);
        if paused != self.paused {
            self.paused = paused;
            if paused {
                tracing::warn!("paused: no shard is given out until `anofpdm resume`");
                orders.push(Order::Pause);
            } else {
                tracing::info!("resumed");
                orders.push(Order::Resume);
            }
        }
        for order in self.requests(FILES_A_TURN) {
            tracing::warn!(?order, "asked by an operator");
            orders.push(order);
        }
        orders
    }

    /// True while operators want the run paused, as far as the last [`poll`](Self::poll) saw.
    pub const fn paused(&self) -> bool {
        self.paused
    }

    /// Takes the requests out of the folder, and everything that is none.
    fn requests(&mut self, most: usize) -> Vec<Order> {
        let mut entries: Vec<DirEntry> = match fs::read_dir(&self.folder) {
            Ok(entries) => entries.filter_map(Result::ok).take(most).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.warn(&self.folder.clone(), &error);
                return Vec::new();
            }
        };
        // Their names begin with the time.
        entries.sort_unstable_by_key(DirEntry::file_name);
        entries
            .iter()
            .filter_map(|entry| self.take(entry))
            .collect()
    }

    /// What a file asks for. Removed before it is obeyed: something asked once is not done twice.
    fn take(&mut self, entry: &DirEntry) -> Option<Order> {
        let name = entry.file_name();
        if name == PAUSED || ends_with(&name, TEMPORARY_END) {
            return None;
        }
        let path = entry.path();
        let read = if starts_with(&name, REQUEST_START) && ends_with(&name, REQUEST_END) {
            read_request(&path)
        } else {
            Err("not the name of a request".to_owned())
        };
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir(&path),
            _ => fs::remove_file(&path),
        };
        if let Err(error) = removed {
            self.warn(&path, &error);
            return None;
        }
        read.inspect_err(|what| {
            tracing::warn!(?path, what, "removed: only requests belong here");
        })
        .ok()
    }

    fn warn(&mut self, path: &Path, error: &io::Error) {
        if self.unusable.is_due(Instant::now()) {
            tracing::warn!(?path, %error, "operators may not be heard: this cannot be read and removed");
        }
    }

    /// Removes what commands left half-written.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let old = |entry: &DirEntry| {
            let modified = entry.metadata().and_then(|data| data.modified()).ok()?;
            Some(modified.elapsed().ok()? > LEFTOVER_AGE)
        };
        for entry in entries.filter_map(Result::ok).take(FILES_AT_START) {
            if ends_with(&entry.file_name(), TEMPORARY_END)
                && old(&entry) == Some(true)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(path = ?entry.path(), %error, "cannot remove a half-written request");
            }
        }
    }
}

fn starts_with(name: &OsStr, start: &str) -> bool {
    name.as_encoded_bytes().starts_with(start.as_bytes())
}

fn ends_with(name: &OsStr, end: &str) -> bool {
    name.as_encoded_bytes().ends_with(end.as_bytes())
}

/// Reads a request, or says why it is none.
fn read_request(path: &Path) -> Result<Order, String> {
    let data = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    // A pipe would make the reader wait for ever.
    if !data.is_file() {
        return Err("not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(REQUEST_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > REQUEST_LIMIT {
        return Err(format!("larger than {REQUEST_LIMIT} bytes"));
    }
    let request: RequestFile =
        serde_json::from_slice(&bytes).map_err(|error| format!("not a request: {error}"))?;
    if let RequestFile::Retry { shards } = &request
        && !(1..=MOST_SHARDS).contains(&shards.len())
    {
        return Err(format!(
            "names {} shards: 1 to {MOST_SHARDS} are allowed",
            shards.len()
        ));
    }
    Ok(request.into())
}

/// True while operators want the run paused.
pub fn is_paused(folder: &RunFolder) -> Result<bool, DiskError> {
    let path = folder.control().join(PAUSED);
    path.try_exists()
        .map_err(|error| DiskError::new("look for", &path, error))
}

/// Wants the run paused, or not; false when that was so already. A coordinator at work obeys within a moment, and
/// one that starts later at its start.
pub fn set_paused(folder: &RunFolder, paused: bool) -> Result<bool, DiskError> {
    let path = folder.control().join(PAUSED);
    if is_paused(folder)? == paused {
        return Ok(false);
    }
    if paused {
        durable::create_dir(&folder.control())?;
        durable::write(&path, b"")?;
        return Ok(true);
    }
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::new("remove", &path, error)),
    }
}

/// A request on its way to the coordinator.
#[derive(Debug)]
pub struct Pending(PathBuf);

impl Pending {
    /// True once the coordinator has taken note of it.
    pub fn is_taken(&self) -> Result<bool, DiskError> {
        let there = self.0.try_exists();
        there
            .map(|there| !there)
            .map_err(|error| DiskError::new("look for", &self.0, error))
    }

    /// Takes it back; false when the coordinator has it already.
    pub fn withdraw(self) -> Result<bool, DiskError> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DiskError::new("remove", &self.0, error)),
        }
    }
}

/// Asks the coordinator at work to end the run.
pub fn ask_to_cancel(folder: &RunFolder) -> Result<Pending, DiskError> {
    ask(folder, &RequestFile::Cancel {})
}

/// Asks the coordinator at work to offer dead shards again; at most [`MOST_SHARDS`] by number.
pub fn ask_to_retry(folder: &RunFolder, shards: &DeadShards) -> Result<Pending, DiskError> {
    let request = match shards {
        DeadShards::All => RequestFile::RetryAll {},
        DeadShards::These(shards) => RequestFile::Retry {
            shards: shards.clone(),
        },
    };
    ask(folder, &request)
}

fn ask(folder: &RunFolder, request: &RequestFile) -> Result<Pending, DiskError> {
    let control = folder.control();
    durable::create_dir(&control)?;
    let millis = instance::unix_millis();
    // Two who ask in the same moment, on two machines, must not meet.
    let unique = instance::nonce();
    let name = format!("{REQUEST_START}{millis:015}-{unique}{REQUEST_END}");
    let path = control.join(name);
    let bytes = serde_json::to_vec(request)
        .map_err(|error| DiskError::new("write", &path, error.into()))?;
    durable::write(&path, &bytes)?;
    Ok(Pending(path))
}

#[cfg(test)]
mod tests;
