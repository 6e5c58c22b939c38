//! A single file that may lie in an object store, as a path: a checkpoint that a spec names.

use std::fs;
use std::path::{Path, PathBuf};

use super::artifacts::{ArtifactError, ArtifactStore};
use super::durable;
use super::location::Location;
use super::object::{ObjectError, ObjectFolder, ObjectSettings, ObjectUrl};
use crate::ids::Digest;

/// Room for the largest weights there are.
const LARGEST: u64 = 64 << 30;

#[derive(Debug, thiserror::Error)]
pub enum RemoteFileError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("{0} is not there; check the name")]
    Missing(ObjectUrl),
}

/// The path of the file at `location`. One in an object store is copied to the local cache first, unless the copy of
/// the state in which it lies there is here and whole.
pub fn local_path(location: &Location) -> Result<PathBuf, RemoteFileError> {
    match location {
        Location::Local(path) => Ok(path.clone()),
        Location::Remote(url) => {
            let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
            copy_of(url, &settings)
        }
    }
}

fn copy_of(url: &ObjectUrl, settings: &ObjectSettings) -> Result<PathBuf, RemoteFileError> {
    let object = ObjectFolder::open(url, settings)?;
    let Some((state, bytes)) = object.soon().state("")? else {
        // Only an answer with a body says whether it is the bucket that is absent.
        object.read("", 0)?;
        return Err(RemoteFileError::Missing(url.clone()));
    };
    let root = settings.cache.join("files");
    let copies = ArtifactStore::open(&root)?;
    // Which bytes a state of the file has is known once they were here.
    let note = root.join(format!(
        "state-{}",
        Digest::of(format!("{url}\n{state}").as_bytes())
    ));
    if let Some(digest) = noted(&note)
        && let Ok(path) = copies.verify(&digest)
    {
        return Ok(path);
    }
    tracing::info!(%url, bytes, "copying to {}", root.display());
    let digest = copies.receive(&object, LARGEST)?;
    let Some(digest) = digest else {
        return Err(RemoteFileError::Missing(url.clone()));
    };
    durable::write(&note, digest.to_string().as_bytes()).map_err(ArtifactError::from)?;
    Ok(copies.verify(&digest)?)
}

fn noted(note: &Path) -> Option<Digest> {
    fs::read_to_string(note).ok()?.parse().ok()
}
