//! A slice store in an object store: a subject is copied to the local disk when it is first read.

use std::fs::{self, File};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use crate::ids::Digest;
use crate::instance::process_space;
use crate::store::durable::{self, DiskError};
use crate::store::hashed_file::HashedFile;
use crate::store::object::{CacheFolder, ObjectError, ObjectFolder, ObjectSettings, ObjectUrl};

/// A file that arrives with other bytes than the manifest names is asked for once more: the way may be to blame.
const FETCHES: u32 = 2;
/// Room for a subject: 65,536 slices of 64 modalities would not fit.
const LARGEST: u64 = 64 << 30;

/// Numbers the files that this process is writing.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct Mirror {
    folder: ObjectFolder,
    copies: CacheFolder,
}

impl Mirror {
    pub(super) fn open(url: &ObjectUrl) -> Result<Self, StoreError> {
        let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
        let folder = ObjectFolder::open(url, &settings)?;
        Ok(Self {
            folder,
            copies: CacheFolder::new(&settings.cache, settings.cache_bytes),
        })
    }

    /// The bytes of the manifest, the first thing that is asked for; `None` where there is none.
    pub(super) fn manifest(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.folder.soon().read(name, limit)?)
    }

    /// The folder for copies of the store whose data have this digest.
    pub(super) fn root(&self, data: &Digest) -> PathBuf {
        self.copies.root().join("stores").join(data.to_string())
    }

    /// Copies the file `name` of the store to `path`, where a copy with other bytes may lie; the copy, open.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], naming the object, where its bytes are not those of `digest`.
    pub(super) fn copy(
        &self,
        name: &str,
        digest: &Digest,
        path: &Path,
    ) -> Result<File, StoreError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        durable::create_dir(folder)?;
        let place = self.folder.url().join(name);
        let mut fetches = 0;
        loop {
            fetches += 1;
            let serial = WRITTEN.fetch_add(1, Ordering::Relaxed);
            let process = std::process::id();
            let part = folder.join(format!("part-{}-{process}-{serial}", process_space()));
            let (mut file, found) = self
                .fetch(name, &part)
                .inspect_err(|_| durable::discard(&part))?;
            if found == Some(*digest) {
                let failed = |error| DiskError::new("rename to", path, error);
                let bytes = file.metadata().map_err(failed)?.len();
                // Not synced: a copy that a crash cuts short is found out by its digest.
                fs::rename(&part, path).map_err(failed)?;
                self.copies.added(bytes);
                file.rewind()
                    .map_err(|error| DiskError::new("read", path, error))?;
                return Ok(file);
            }
            durable::discard(&part);
            let reason = match found {
                None => "the manifest names it, and it is not there",
                Some(_) if fetches == FETCHES => "its bytes are not those that the manifest names",
                Some(_) => {
                    tracing::warn!(%place, "came with other bytes than the manifest names; fetched again");
                    continue;
                }
            };
            return Err(StoreError::damaged(place.to_string(), reason));
        }
    }

    fn fetch(&self, name: &str, part: &Path) -> Result<(File, Option<Digest>), StoreError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(part)
            .map_err(|error| DiskError::new("create", part, error))?;
        let mut hashed = HashedFile::new(&mut file);
        let there = self
            .folder
            .fetch(name, LARGEST, &mut hashed, HashedFile::restart)?;
        let digest = there.then(|| hashed.digest());
        Ok((file, digest))
    }
}
