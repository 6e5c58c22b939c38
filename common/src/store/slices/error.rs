//! What can be wrong with a slice store.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::durable::DiskError;

/// What can be wrong with a slice store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No manifest: the folder is not a store, or its preprocessing did not finish.
    #[error(
        "{0}: no manifest.json, so this is not a finished slice store: run (or finish) `anofpdm preprocess`"
    )]
    NoManifest(PathBuf),
    /// A file of the store is damaged or was made by something else.
    #[error(
        "{path}: {reason}; copy the store again from where it is whole, or run `anofpdm preprocess` again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A subject that the manifest does not name.
    #[error("the store {store} has no subject '{id}'")]
    UnknownSubject {
        /// Folder of the store.
        store: PathBuf,
        /// The name asked for.
        id: String,
    },
    /// A slice past the end of a subject.
    #[error("subject '{id}' has {slices} slices, so none with number {slice}")]
    NoSlice {
        /// The subject.
        id: String,
        /// The number asked for, counted from 0.
        slice: usize,
        /// How many there are.
        slices: usize,
    },
    /// Another process writes this store now.
    #[error("{0}: another preprocess is writing this store; wait for it or choose another folder")]
    Locked(PathBuf),
    /// The folder holds something that is no part of a store.
    #[error(
        "{folder}: holds '{found}', which is no part of a slice store; choose an empty or new folder"
    )]
    Foreign {
        /// The folder asked to write into.
        folder: PathBuf,
        /// An entry that does not belong.
        found: String,
    },
    /// The folder holds a finished store of another kind.
    #[error(
        "{folder}: holds a finished store with {found}, and {asked} was asked for; choose another folder or delete this one"
    )]
    OtherStore {
        /// The folder.
        folder: PathBuf,
        /// Modalities and size of what is there.
        found: String,
        /// Modalities and size of what was asked for.
        asked: String,
    },
    /// Whoever watched the reading had it stopped.
    #[error("the store was not verified to its end")]
    Stopped,
    /// What is to be written does not fit together.
    #[error("subject '{id}': {reason}. This is a bug.")]
    Inconsistent {
        /// The subject.
        id: String,
        /// What does not fit.
        reason: String,
    },
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
