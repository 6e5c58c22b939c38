//! Content-addressed files: records, manifests, plans and weights, each named by the digest of its bytes.
//!
//! `ROOT/ab/abcdef…` holds the bytes whose blake3 digest is `abcdef…`; the first two digits keep folders
//! small. Files under `ROOT/tmp` are being written. A file appears under its digest only when it is
//! complete and synced, and is never changed, so readers need no lock and any number of processes and
//! hosts may share a store.
//!
//! A store may stand for one in an object store: `ROOT/remote` then holds its address, every artifact is there under
//! the same name, and the folder has copies of some. What is put here is there before it is here; what is asked for and
//! not here, or not whole, is fetched.

mod remote;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::durable::{self, DiskError};
use super::location::LocationError;
use super::object::{CacheFolder, ObjectError, ObjectFolder, ObjectUrl};
use crate::ids::Digest;
use crate::instance::process_space;
use remote::{REMOTE, RemoteArtifacts, object_name, receive, remote_of};

const TEMPORARY: &str = "tmp";

/// A temporary file of an unknown process is left alone for this long.
const TEMPORARY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

const COPY_BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub struct ArtifactStore {
    root: PathBuf,
    /// Who writes: boot, process namespace and process, so that a dead writer is recognised.
    writer: String,
    remote: Option<RemoteArtifacts>,
}

/// Numbers the temporary files of this process, whichever of its stores writes: two of one folder share its files.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// One artifact as `gc` sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEntry {
    pub digest: Digest,
    pub bytes: u64,
    pub modified: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// `store` is a folder or an address.
    #[error("artifact {digest} is not in {store}; is this the store the run was started with?")]
    Missing { digest: Digest, store: String },
    /// The bytes are not those the name promises. `place` is a path or an address.
    #[error(
        "artifact {place} is corrupt: its bytes have digest {found}; delete it, and it is made again"
    )]
    Corrupt { place: String, found: Digest },
    #[error("artifact {} has {bytes} bytes, over the limit of {limit}", path.display())]
    TooLarge {
        path: PathBuf,
        bytes: u64,
        limit: u64,
    },
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("{}: {source}", path.display())]
    Address {
        path: PathBuf,
        source: LocationError,
    },
    #[error("{} has copies of {known}, and {asked} was asked for; leave it out, or give the run another folder", root.display())]
    OtherRemote {
        root: PathBuf,
        known: String,
        asked: String,
    },
}

impl ArtifactStore {
    /// Opens the store at `root`, made when absent, and removes temporary files of dead processes.
    pub fn open(root: &Path) -> Result<Self, ArtifactError> {
        let temporary = root.join(TEMPORARY);
        durable::create_dir(&temporary)?;
        remove_leftovers(&temporary)?;
        let remote = match remote_of(root)? {
            None => None,
            Some(url) => Some(RemoteArtifacts::open(root, &url)?),
        };
        Ok(Self {
            root: root.to_owned(),
            writer: format!("{}-{}", process_space(), std::process::id()),
            remote,
        })
    }

    /// Opens the store at `url`, with copies below `root`. Artifacts that `root` has had by itself go up first.
    ///
    /// # Errors
    /// [`ArtifactError::OtherRemote`] where `root` stands for another one.
    pub fn open_remote(root: &Path, url: &ObjectUrl) -> Result<Self, ArtifactError> {
        let mut store = Self::open(root)?;
        match &store.remote {
            Some(remote) if remote.folder.url() == url => return Ok(store),
            Some(remote) => {
                return Err(ArtifactError::OtherRemote {
                    root: root.to_owned(),
                    known: remote.folder.url().to_string(),
                    asked: url.to_string(),
                });
            }
            None => {}
        }
        let remote = RemoteArtifacts::open(root, url)?;
        for entry in store.entries()? {
            let digest = entry?.digest;
            // A corrupt one is left behind: it is made again, as it would be here.
            if store.holds(&digest)? {
                remote.send(&digest, &store.path_of(&digest))?;
            }
        }
        durable::write(&root.join(REMOTE), url.to_string().as_bytes())?;
        store.remote = Some(remote);
        Ok(store)
    }

    /// The address of the object store, for which this folder has copies.
    pub fn remote(&self) -> Option<&ObjectUrl> {
        Some(self.remote.as_ref()?.folder.url())
    }

    /// Asks the object store, if there is one, whether it can be written to.
    pub fn check_writable(&self) -> Result<(), ArtifactError> {
        match &self.remote {
            Some(remote) => Ok(remote.folder.check_writable()?),
            None => Ok(()),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the artifact lies or would lie.
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        Self::path_below(&self.root, digest)
    }

    /// Where the artifact would lie if `root` were a store: to look for the store that holds it.
    pub fn path_below(root: &Path, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let mut path = root.join(name.chars().take(2).collect::<String>());
        path.push(name);
        path
    }

    /// True when a file of that name is there; its bytes are not looked at.
    pub fn contains(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        Ok(self.length(digest)?.is_some())
    }

    /// Length of an artifact; `None` where it is not there.
    pub fn length(&self, digest: &Digest) -> Result<Option<u64>, ArtifactError> {
        let path = self.path_of(digest);
        match (fs::metadata(&path), &self.remote) {
            (Ok(metadata), _) => Ok(Some(metadata.len())),
            (Err(error), _) if error.kind() != ErrorKind::NotFound => {
                Err(DiskError::new("look for", &path, error).into())
            }
            (Err(_), Some(remote)) => Ok(remote.folder.length(&object_name(digest))?),
            (Err(_), None) => Ok(None),
        }
    }

    /// Stores `bytes` durably. Equal bytes already there are not written again; a corrupt file of that
    /// name is replaced.
    ///
    /// # Errors
    /// [`ArtifactError::Disk`]; nothing is then left behind.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = Digest::of(bytes);
        if self.holds(&digest)? {
            return Ok(digest);
        }
        let temporary = self.write_temporary(|file| file.write_all(bytes))?;
        self.settle(&temporary, &digest).map(|()| digest)
    }

    /// Stores a copy of the file at `source`, without holding it in memory.
    pub fn put_file(&self, source: &Path) -> Result<Digest, ArtifactError> {
        let mut input =
            File::open(source).map_err(|error| DiskError::new("open", source, error))?;
        let mut hasher = blake3::Hasher::new();
        let temporary = self.write_temporary(|file| {
            read_chunks(&mut input, |chunk| {
                hasher.update(chunk);
                file.write_all(chunk)
            })
        })?;
        let digest = Digest::from(hasher.finalize());
        if self
            .holds(&digest)
            .inspect_err(|_| durable::discard(&temporary))?
        {
            durable::discard(&temporary);
        } else {
            self.settle(&temporary, &digest)?;
        }
        Ok(digest)
    }

    /// Stores a copy of one object of at most `limit` bytes; `None` where it is not there.
    pub fn receive(
        &self,
        object: &ObjectFolder,
        limit: u64,
    ) -> Result<Option<Digest>, ArtifactError> {
        match receive(object, "", limit, |fill| self.write_temporary(fill))? {
            (temporary, Some(digest)) => self.settle(&temporary, &digest).map(|()| Some(digest)),
            (temporary, None) => {
                durable::discard(&temporary);
                Ok(None)
            }
        }
    }

    /// The bytes of an artifact of at most `limit` bytes, verified.
    pub fn get(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ArtifactError> {
        self.read_here_or_there(digest, limit, |store| store.get_here(digest, limit))
    }

    fn get_here(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ArtifactError> {
        let (path, file) = self.open_artifact(digest)?;
        let failed = |error| DiskError::new("read", &path, error);
        let size = file.metadata().map_err(failed)?.len();
        if size > limit {
            return Err(ArtifactError::TooLarge {
                path,
                bytes: size,
                limit,
            });
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(corrupt(path.display(), found)),
        }
    }

    /// The path of an artifact whose bytes have just been verified: for files too large for [`get`](Self::get).
    pub fn verify(&self, digest: &Digest) -> Result<PathBuf, ArtifactError> {
        self.read_here_or_there(digest, u64::MAX, |store| store.verify_here(digest))
    }

    fn verify_here(&self, digest: &Digest) -> Result<PathBuf, ArtifactError> {
        let (path, mut file) = self.open_artifact(digest)?;
        let found = digest_of(&mut file).map_err(|error| DiskError::new("read", &path, error))?;
        if found == *digest {
            Ok(path)
        } else {
            Err(corrupt(path.display(), found))
        }
    }

    /// What `read` finds in the folder; where that is nothing or not whole, what it finds once a copy was fetched.
    fn read_here_or_there<T>(
        &self,
        digest: &Digest,
        limit: u64,
        read: impl Fn(&Self) -> Result<T, ArtifactError>,
    ) -> Result<T, ArtifactError> {
        let found = read(self);
        let Some(remote) = &self.remote else {
            return found;
        };
        match &found {
            Ok(_) => {
                CacheFolder::used(&self.path_of(digest));
                return found;
            }
            Err(ArtifactError::Missing { .. }) => {}
            Err(ArtifactError::Corrupt { place, .. }) => {
                tracing::warn!(path = place, "a copy is corrupt and is fetched again");
            }
            Err(_) => return found,
        }
        let temporary = remote.fetch(digest, limit, |fill| self.write_temporary(fill))?;
        self.give_name(&temporary, digest)?;
        read(self)
    }

    /// Every artifact, in the order of the digests. Other files are passed over.
    ///
    /// # Errors
    /// [`ArtifactError::Disk`], also from the iterator, one folder at a time.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<ArtifactEntry, ArtifactError>> + use<>, ArtifactError>
    {
        let folders = list(&self.root)?
            .into_iter()
            .filter(|(name, _)| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit()));
        Ok(folders.flat_map(|(_, folder)| match entries_of(&folder) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }))
    }

    /// Deletes an artifact; true when it was there.
    pub fn remove(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let path = self.path_of(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DiskError::new("delete", &path, error).into()),
        }
    }

    fn open_artifact(&self, digest: &Digest) -> Result<(PathBuf, File), ArtifactError> {
        let path = self.path_of(digest);
        match File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ArtifactError::Missing {
                digest: *digest,
                store: self.root.display().to_string(),
            }),
            Err(error) => Err(DiskError::new("open", &path, error).into()),
        }
    }

    fn holds(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        match self.verify_here(digest) {
            Ok(_) => Ok(true),
            Err(ArtifactError::Missing { .. }) => Ok(false),
            Err(ArtifactError::Corrupt { place, .. }) => {
                tracing::warn!(path = place, "replacing a corrupt artifact");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn write_temporary(
        &self,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<PathBuf, ArtifactError> {
        let serial = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let path = self
            .root
            .join(TEMPORARY)
            .join(format!("{}-{serial}", self.writer));
        let written = File::create(&path).and_then(|mut file| {
            fill(&mut file)?;
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                durable::discard(&path);
                Err(DiskError::new("write artifact", &path, error).into())
            }
        }
    }

    /// Gives a synced temporary file its name: in the object store, if there is one, and then here.
    fn settle(&self, temporary: &Path, digest: &Digest) -> Result<(), ArtifactError> {
        if let Some(remote) = &self.remote {
            remote
                .send(digest, temporary)
                .inspect_err(|_| durable::discard(temporary))?;
        }
        self.give_name(temporary, digest)
    }

    fn give_name(&self, temporary: &Path, digest: &Digest) -> Result<(), ArtifactError> {
        let path = self.path_of(digest);
        let settled = self
            .make_folder_of(&path)
            .and_then(|()| durable::rename(temporary, &path));
        if settled.is_err() {
            durable::discard(temporary);
        }
        Ok(settled?)
    }

    fn make_folder_of(&self, path: &Path) -> Result<(), DiskError> {
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        match fs::create_dir(folder) {
            Ok(()) => durable::sync_parent(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(DiskError::new("create folder", folder, error)),
        }
    }
}

fn corrupt(place: impl std::fmt::Display, found: Digest) -> ArtifactError {
    ArtifactError::Corrupt {
        place: place.to_string(),
        found,
    }
}

fn read_chunks(
    input: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn digest_of(input: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    read_chunks(input, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    Ok(hasher.finalize().into())
}

fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, ArtifactError> {
    let failed = |error| DiskError::new("list", folder, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn entries_of(folder: &Path) -> Result<Vec<ArtifactEntry>, ArtifactError> {
    let mut entries = Vec::new();
    for (name, path) in list(folder)? {
        let Ok(digest) = name.parse::<Digest>() else {
            continue;
        };
        let facts =
            fs::metadata(&path).and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        match facts {
            Ok((bytes, modified)) => entries.push(ArtifactEntry {
                digest,
                bytes,
                modified,
            }),
            // Removed by another process meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::new("read", &path, error).into()),
        }
    }
    Ok(entries)
}

/// Removes temporary files whose writer is dead, or unknown and silent for a day.
fn remove_leftovers(folder: &Path) -> Result<(), ArtifactError> {
    let here = process_space();
    for (name, path) in list(folder)? {
        let mut parts = name.split('-');
        let dead = match (parts.next(), parts.next()) {
            (Some(space), Some(process)) if space == here => {
                !Path::new("/proc").join(process).exists()
            }
            _ => false,
        };
        let old = || {
            fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > TEMPORARY_AGE))
        };
        if dead || old() {
            durable::discard(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
