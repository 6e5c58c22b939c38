//! An append-only file of checksummed entries: the truth about a run.
//!
//! The file is a line of text (name and version) and then [`wire`] envelopes of kind
//! [`Kind::Journal`](crate::wire::Kind), one after another. [`Journal::append`] returns after the entry is
//! on the disk; what it acknowledged is there after a crash.
//!
//! A crash in the middle of an append leaves a *torn tail*: a last entry that is short or fails its
//! checksum. It was never acknowledged, so it is cut off and reported. A bad entry with a good one behind
//! it is not torn but *corrupt*: something acknowledged is lost, and that is an error with its offset. The
//! rule needs entries that contain no envelopes themselves.
//!
//! Only one process may write a journal; the lock on the run folder sees to that.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::durable::{self, DiskError};
use crate::wire::{self, HEADER_LEN, Kind, Message, WireError};

const FILE_HEADER: &[u8] = b"anofpdm journal 4\n";

/// Bytes looked at in one go while searching for an intact entry.
const SEARCH_WINDOW: usize = 64 << 10;

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    medium: Box<dyn Medium>,
    length: u64,
    failed: bool,
    entries: PhantomData<fn(&T)>,
}

/// What [`Journal::open`] found.
#[derive(Debug)]
pub struct Recovered<T> {
    /// The journal, positioned after the last good entry.
    pub journal: Journal<T>,
    /// Number of entries handed to the callback.
    pub entries: u64,
    /// What was cut off the end, if anything.
    pub torn: Option<TornTail>,
}

/// An unfinished append that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// Where the file now ends.
    pub offset: u64,
    pub bytes: u64,
}

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{} is not a journal that this version of anofpdm can go on with: read the run with the version that made it, or give the new run another name or folder", .0.display())]
    NotAJournal(PathBuf),
    #[error(
        "journal {} is corrupt at byte {offset} ({reason}), with good entries after it; restore it from a backup, \
         or move it away: records already made are found again by their keys", path.display()
    )]
    Corrupt {
        path: PathBuf,
        offset: u64,
        reason: WireError,
    },
    #[error("journal {} has an entry at byte {offset} that this program cannot read: {reason}", path.display())]
    Unreadable {
        path: PathBuf,
        offset: u64,
        reason: WireError,
    },
    #[error("journal {}: {reason}", path.display())]
    Entry { path: PathBuf, reason: WireError },
    #[error("journal {} takes no more entries after a failed write; run again once the disk is well", .0.display())]
    Failed(PathBuf),
}

/// What a journal needs of its file; tests put a failing disk here.
trait Medium: std::fmt::Debug + Send {
    /// Writes all of `bytes` at `offset`, the end of the file.
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl<T: Message> Journal<T> {
    /// Opens the journal at `path`, made when absent, and gives every entry to `replay`, oldest first. A
    /// torn tail is cut off. Memory does not grow with the journal.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`], [`JournalError::Unreadable`], [`JournalError::NotAJournal`],
    /// [`JournalError::Disk`]; the file is then left as it was.
    pub fn open(path: &Path, mut replay: impl FnMut(T)) -> Result<Recovered<T>, JournalError> {
        let failed = |action| move |error| DiskError::new(action, path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("open"))?;
        let size = file.metadata().map_err(failed("read"))?.len();
        let start = begin(&file, path, size)?;
        let Scan {
            good,
            entries,
            torn,
        } = scan(&file, path, start, size, &mut replay)?;
        if torn.is_some() {
            file.set_len(good).map_err(failed("cut"))?;
            file.sync_all().map_err(failed("sync"))?;
        }
        Ok(Recovered {
            journal: Self {
                path: path.to_owned(),
                medium: Box::new(file),
                length: good,
                failed: false,
                entries: PhantomData,
            },
            entries,
            torn,
        })
    }

    /// Gives every entry of the journal at `path` to `replay` without touching the file, also while a
    /// coordinator writes to it: what is torn at the end is not there yet.
    ///
    /// # Errors
    /// As [`Self::open`]; a journal that is absent cannot be read.
    pub fn read(path: &Path, mut replay: impl FnMut(T)) -> Result<(), JournalError> {
        let failed = |action| move |error| DiskError::new(action, path, error);
        let file = File::open(path).map_err(failed("open"))?;
        let size = file.metadata().map_err(failed("read"))?.len();
        let start = FILE_HEADER.len() as u64;
        if size < start {
            return Ok(());
        }
        let mut found = vec![0; FILE_HEADER.len()];
        file.read_exact_at(&mut found, 0).map_err(failed("read"))?;
        if found != FILE_HEADER {
            return Err(JournalError::NotAJournal(path.to_owned()));
        }
        scan(&file, path, start, size, &mut replay).map(drop)
    }

    /// Adds `entry` and waits until it is on the disk.
    ///
    /// # Errors
    /// [`JournalError::Entry`] when it is too large: nothing happened. [`JournalError::Disk`] when the
    /// write or the sync failed: what was written of it is cut off again, and every later call is
    /// [`JournalError::Failed`], since after a failed sync nobody knows what the disk holds.
    pub fn append(&mut self, entry: &T) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed(self.path.clone()));
        }
        let bytes = wire::encode(entry).map_err(|reason| JournalError::Entry {
            path: self.path.clone(),
            reason,
        })?;
        let written = self
            .medium
            .write(&bytes, self.length)
            .and_then(|()| self.medium.sync());
        if let Err(error) = written {
            self.failed = true;
            // Best effort: a tail that stays is torn, and cut when the journal is opened again.
            if let Err(cut) = self.medium.truncate(self.length) {
                tracing::warn!(path = %self.path.display(), error = %cut, "cannot cut an unfinished journal entry");
            }
            return Err(DiskError::new("write to", &self.path, error).into());
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

struct Scan {
    /// End of the last good entry.
    good: u64,
    entries: u64,
    torn: Option<TornTail>,
}

/// Reads the entries from `start` on.
fn scan<T: Message>(
    file: &File,
    path: &Path,
    start: u64,
    size: u64,
    replay: &mut dyn FnMut(T),
) -> Result<Scan, JournalError> {
    let failed = |error| DiskError::new("read", path, error);
    let mut good = start;
    let mut entries = 0;
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut torn = None;
    while good < size {
        let intact = match next_envelope(&mut reader, &mut bytes).map_err(failed)? {
            Ok(()) => wire::open(Kind::Journal, &bytes).map(drop),
            Err(error) => Err(error),
        };
        if let Err(reason) = intact {
            if intact_entry_after(file, good, size).map_err(failed)? {
                return Err(JournalError::Corrupt {
                    path: path.to_owned(),
                    offset: good,
                    reason,
                });
            }
            torn = Some(TornTail {
                offset: good,
                bytes: size - good,
            });
            break;
        }
        let entry = wire::decode(&bytes).map_err(|reason| JournalError::Unreadable {
            path: path.to_owned(),
            offset: good,
            reason,
        })?;
        replay(entry);
        entries += 1;
        good += bytes.len() as u64;
    }
    Ok(Scan {
        good,
        entries,
        torn,
    })
}

/// Checks the file's first line, or writes it into a new file. Returns where entries begin.
fn begin(file: &File, path: &Path, size: u64) -> Result<u64, JournalError> {
    let length = FILE_HEADER.len() as u64;
    let mut found = vec![
        0;
        FILE_HEADER
            .len()
            .min(usize::try_from(size).unwrap_or(usize::MAX))
    ];
    file.read_exact_at(&mut found, 0)
        .map_err(|error| DiskError::new("read", path, error))?;
    if found == FILE_HEADER {
        return Ok(length);
    }
    // A crash while the file was new leaves a part of the line, or zeros of its length.
    let unborn =
        FILE_HEADER.starts_with(&found) || (size <= length && found.iter().all(|b| *b == 0));
    if !unborn {
        return Err(JournalError::NotAJournal(path.to_owned()));
    }
    file.set_len(0)
        .and_then(|()| file.write_all_at(FILE_HEADER, 0))
        .and_then(|()| file.sync_all())
        .map_err(|error| DiskError::new("write to", path, error))?;
    durable::sync_parent(path)?;
    Ok(length)
}

/// Reads one envelope's bytes; the inner error says why there is none.
fn next_envelope(reader: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Result<(), WireError>> {
    bytes.clear();
    reader.take(HEADER_LEN as u64).read_to_end(bytes)?;
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(Err(WireError::Truncated {
            kind: Kind::Journal,
            have: bytes.len(),
            need: HEADER_LEN,
        }));
    };
    match wire::envelope_len(Kind::Journal, header) {
        Ok(length) => {
            reader
                .take((length - HEADER_LEN) as u64)
                .read_to_end(bytes)?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// True when an intact entry begins anywhere after `bad`.
fn intact_entry_after(mut file: &File, bad: u64, size: u64) -> io::Result<bool> {
    let mut window = vec![0; SEARCH_WINDOW];
    let mut start = bad + 1;
    while start + HEADER_LEN as u64 <= size {
        let length = SEARCH_WINDOW.min(usize::try_from(size - start).unwrap_or(usize::MAX));
        let chunk = &mut window[..length];
        file.read_exact_at(chunk, start)?;
        for (at, _) in chunk
            .windows(wire::MAGIC.len())
            .enumerate()
            .filter(|(_, four)| *four == wire::MAGIC)
        {
            file.seek(SeekFrom::Start(start + at as u64))?;
            let mut bytes = Vec::new();
            if next_envelope(&mut file, &mut bytes)?.is_ok()
                && wire::open(Kind::Journal, &bytes).is_ok()
            {
                return Ok(true);
            }
        }
        // Windows overlap so that a magic on the seam is seen.
        start += (length - (wire::MAGIC.len() - 1)) as u64;
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
