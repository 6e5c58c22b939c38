//! The record cache: results of other runs, by record key.
//!
//! Off unless a folder is named (`--cache` or `ANOFPDM_CACHE`): a run folder is complete without it. An entry is a hard
//! link to the record of the run that made it (a copy across file systems), so its link count says
//! whether a run still uses it, and `anofpdm gc` needs no bookkeeping.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;

/// A folder of records by key.
#[derive(Debug, Clone)]
pub struct RecordCache {
    root: PathBuf,
}

/// One entry, as `gc` sees it.
#[derive(Debug, Clone)]
pub struct CacheEntry {
    pub path: PathBuf,
    pub bytes: u64,
    /// True where no run folder shares it.
    pub unused: bool,
}

impl RecordCache {
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// The record of `key`, where there is one.
    pub fn find(&self, key: Digest) -> Option<PathBuf> {
        Some(self.path(key)).filter(|path| path.is_file())
    }

    /// Adds the record of `key`; an entry that is there stays.
    pub fn add(&self, key: Digest, record: &Path) -> io::Result<()> {
        let path = self.path(key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::hard_link(record, &path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let temporary = path.with_extension(format!("partial-{}", std::process::id()));
                fs::copy(record, &temporary)?;
                fs::File::open(&temporary)?.sync_all()?;
                fs::rename(&temporary, &path)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the record of `key` out, where there is one: it is no longer believed.
    pub fn remove(&self, key: Digest) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn entries(&self) -> io::Result<Vec<CacheEntry>> {
        use std::os::unix::fs::MetadataExt;

        let mut entries = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let metadata = file.metadata()?;
                entries.push(CacheEntry {
                    path: file.path(),
                    bytes: metadata.len(),
                    unused: metadata.nlink() < 2,
                });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn path(&self, key: Digest) -> PathBuf {
        let name = key.to_string();
        self.root.join(&name[..2]).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_unused_once_its_run_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RecordCache::open(&dir.path().join("cache")).unwrap();
        let record = dir.path().join("record");
        fs::write(&record, b"bits").unwrap();
        let key = Digest::of(b"key");
        assert!(cache.find(key).is_none());
        cache.add(key, &record).unwrap();
        cache.add(key, &record).unwrap();
        assert!(!cache.entries().unwrap()[0].unused);
        fs::remove_file(&record).unwrap();
        assert!(cache.entries().unwrap()[0].unused);
        assert_eq!(fs::read(cache.find(key).unwrap()).unwrap(), b"bits");
        cache.remove(key).unwrap();
        cache.remove(key).unwrap();
        assert!(cache.find(key).is_none());
    }
}
