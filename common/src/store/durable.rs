//! Files that are whole or absent, and errors that say what to do about the disk.
//!
//! A file is written under a temporary name, synced, renamed, and its folder synced: after a crash there is
//! either the old file, the new one, or none, never a part of one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}{}", path.display(), cure(source))]
pub struct DiskError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DiskError {
    /// `action` completes "cannot … PATH".
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; free some space (anofpdm gc lists what can go) and run again"
        }
        ErrorKind::FileTooLarge => "; raise the file-size limit (ulimit -f) and run again",
        ErrorKind::PermissionDenied => "; check owner and permissions",
        ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        _ => "",
    }
}

pub fn create_dir(path: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(|error| DiskError::new("create folder", path, error))
}

/// Writes `bytes` to `path`, replacing a file that is there.
///
/// The temporary name is `path` with `.tmp` behind it, so two processes must not write the same path at
/// once; the lock on the folder it lies in sees to that.
///
/// # Errors
/// [`DiskError`]; an old file is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| DiskError::new("write", &temporary, error))
        .and_then(|()| rename(&temporary, path));
    if written.is_err() {
        discard(&temporary);
    }
    written
}

/// Renames a synced file and syncs the folder it arrives in.
pub fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(|error| DiskError::new("rename to", to, error))?;
    sync_parent(to)
}

/// Makes the entry of `path` in its folder durable.
pub fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| DiskError::new("sync folder", parent, error))
}

/// Removes a temporary file after an error that is already being reported.
pub(super) fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a temporary file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write(&path, b"old").unwrap();
        fs::create_dir(folder.path().join("summary.json.tmp")).unwrap();
        let error = write(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("summary.json.tmp"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_full_disk_comes_with_its_cure() {
        let full = DiskError::new(
            "write",
            Path::new("records/x"),
            io::Error::from(ErrorKind::StorageFull),
        );
        assert!(full.to_string().contains("records/x"));
        assert!(full.to_string().contains("anofpdm gc"));
        let limit = io::Error::from(ErrorKind::FileTooLarge);
        let limit = DiskError::new("write", Path::new("records/x"), limit);
        assert!(limit.to_string().contains("ulimit"));
    }
}
