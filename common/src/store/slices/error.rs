//! What can be wrong with a slice store.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::durable::DiskError;
use crate::store::location::Location;
use crate::store::object::ObjectError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// No manifest: the folder is not a store, or its preprocessing did not finish.
    #[error(
        "{0}: no manifest.json, so this is not a finished slice store: run (or finish) `anofpdm preprocess`"
    )]
    NoManifest(Location),
    #[error(
        "{path}: {reason}; copy the store again from where it is whole, or run `anofpdm preprocess` again"
    )]
    Damaged { path: PathBuf, reason: String },
    #[error("the store {store} has no subject '{id}'")]
    UnknownSubject { store: Location, id: String },
    #[error("subject '{id}' has {slices} slices, so none with number {slice}")]
    NoSlice {
        id: String,
        /// The number asked for, counted from 0.
        slice: usize,
        slices: usize,
    },
    #[error("{0}: another preprocess is writing this store; wait for it or choose another folder")]
    Locked(PathBuf),
    #[error(
        "{folder}: holds '{found}', which is no part of a slice store; choose an empty or new folder"
    )]
    Foreign { folder: PathBuf, found: String },
    #[error(
        "{folder}: holds a finished store with {found}, and {asked} was asked for; choose another folder or delete this one"
    )]
    OtherStore {
        folder: PathBuf,
        found: String,
        asked: String,
    },
    #[error("the store was not verified to its end")]
    Stopped,
    #[error("subject '{id}': {reason}. This is a bug.")]
    Inconsistent { id: String, reason: String },
}

impl StoreError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| DiskError::new("read", path, source).into()
    }

    pub(super) fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            reason: reason.into(),
        }
    }
}
