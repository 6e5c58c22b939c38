//! The object store that an artifact store stands for.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{ArtifactError, corrupt};
use crate::ids::Digest;
use crate::store::durable::{self, DiskError};
use crate::store::hashed_file::HashedFile;
use crate::store::object::{
    CacheFolder, Created, ObjectError, ObjectFolder, ObjectSettings, ObjectUrl,
};

/// The file that holds the address of the object store.
pub(super) const REMOTE: &str = "remote";
const MAX_ADDRESS: u64 = 4 << 10;

/// Up to this an artifact goes up in one piece, and one that is there is compared; weights are larger.
const WHOLE: u64 = 8 << 20;

/// An object that arrives with other bytes than its name says is asked for once more: the way may be to blame.
const FETCHES: u32 = 2;

/// Where the artifacts of a store lie, when the folder has copies.
#[derive(Debug)]
pub(super) struct RemoteArtifacts {
    pub(super) folder: ObjectFolder,
    pub(super) copies: CacheFolder,
}

/// Fills a new file.
pub(super) type Receive<'a> = dyn FnMut(&mut File) -> io::Result<()> + 'a;

impl RemoteArtifacts {
    pub(super) fn open(root: &Path, url: &ObjectUrl) -> Result<Self, ArtifactError> {
        let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
        Ok(Self {
            folder: ObjectFolder::open(url, &settings)?,
            copies: CacheFolder::new(root, settings.cache_bytes),
        })
    }

    /// Brings the artifact whose bytes lie at `file`. One that is there already is left, unless it is corrupt.
    pub(super) fn send(&self, digest: &Digest, file: &Path) -> Result<(), ArtifactError> {
        let name = object_name(digest);
        let length = fs::metadata(file)
            .map_err(|error| DiskError::new("read", file, error))?
            .len();
        self.copies.added(length);
        if length > WHOLE {
            // Too large to be compared byte by byte; in parts it appears when all are there, so length is enough.
            if self.folder.length(&name)? != Some(length) {
                self.folder.upload(&name, file)?;
            }
            return Ok(());
        }
        let bytes = fs::read(file).map_err(|error| DiskError::new("read", file, error))?;
        match self.folder.create(&name, bytes.clone().into())? {
            Created::New => Ok(()),
            Created::WasThere if self.folder.read(&name, WHOLE)?.as_ref() == Some(&bytes) => Ok(()),
            Created::WasThere => {
                tracing::warn!(place = %self.folder.url().join(&name), "replacing a corrupt artifact");
                Ok(self.folder.replace(&name, bytes.into())?)
            }
        }
    }

    /// Writes the bytes of an artifact of at most `limit` bytes into a file that `temporary` makes, and verifies them.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] and [`ArtifactError::Corrupt`] name the address.
    pub(super) fn fetch(
        &self,
        digest: &Digest,
        limit: u64,
        temporary: impl Fn(&mut Receive<'_>) -> Result<PathBuf, ArtifactError>,
    ) -> Result<PathBuf, ArtifactError> {
        let name = object_name(digest);
        let mut fetches = 0;
        loop {
            fetches += 1;
            let (path, found) = receive(&self.folder, &name, limit, &temporary)?;
            match found {
                Some(found) if found == *digest => {
                    self.copies
                        .added(fs::metadata(&path).map_or(0, |metadata| metadata.len()));
                    return Ok(path);
                }
                Some(found) => {
                    durable::discard(&path);
                    let place = self.folder.url().join(&name);
                    if fetches == FETCHES {
                        return Err(corrupt(place, found));
                    }
                    tracing::warn!(%place, "came with other bytes than its name says; fetched again");
                }
                None => {
                    durable::discard(&path);
                    return Err(ArtifactError::Missing {
                        digest: *digest,
                        store: self.folder.url().to_string(),
                    });
                }
            }
        }
    }
}

/// Copies an object of at most `limit` bytes into a file that `temporary` makes; its digest, `None` where it is not there.
pub(super) fn receive(
    folder: &ObjectFolder,
    name: &str,
    limit: u64,
    temporary: impl Fn(&mut Receive<'_>) -> Result<PathBuf, ArtifactError>,
) -> Result<(PathBuf, Option<Digest>), ArtifactError> {
    let mut received = Ok(None);
    let path = temporary(&mut |file| {
        let mut file = HashedFile::new(file);
        received = folder
            .fetch(name, limit, &mut file, HashedFile::restart)
            .map(|there| there.then(|| file.digest()));
        Ok(())
    })?;
    match received {
        Ok(digest) => Ok((path, digest)),
        Err(error) => {
            durable::discard(&path);
            Err(error.into())
        }
    }
}

/// The address in a store's folder, where it has one.
pub(super) fn remote_of(root: &Path) -> Result<Option<ObjectUrl>, ArtifactError> {
    let path = root.join(REMOTE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::new("open", &path, error).into()),
    };
    let mut text = String::new();
    file.take(MAX_ADDRESS)
        .read_to_string(&mut text)
        .map_err(|error| DiskError::new("read", &path, error))?;
    match text.trim_end().parse() {
        Ok(url) => Ok(Some(url)),
        Err(source) => Err(ArtifactError::Address { path, source }),
    }
}

/// The name of an artifact below the address of an object store, as in a folder.
pub(super) fn object_name(digest: &Digest) -> String {
    let name = digest.to_string();
    let shelf: String = name.chars().take(2).collect();
    format!("{shelf}/{name}")
}
