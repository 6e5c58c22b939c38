//! Writing a slice store: resumable, one writer at a time, and a store only once its manifest stands.
//!
//! `STORE/progress/ID.json` says from what a subject's file was made, so that a later call keeps it when nothing
//! changed. It is written after the file, and removed before the file is replaced.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::manifest::{SkippedSubject, StoreManifest, SubjectRecord, is_plain_name};
use super::reader::{MANIFEST_FILE, SUBJECTS_FOLDER, SliceStore};
use super::subject_file::{Expected, SOURCE_KEY, SourceGrid, SubjectFile};
use crate::ids::Digest;
use crate::store::durable::{self, DiskError};

const PROGRESS_FOLDER: &str = "progress";
/// Both the lock and the sign that an unfinished folder is ours.
const LOCK_FILE: &str = ".anofpdm-store";
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const PREVIEW_FILE: &str = "preview.png";

/// Since 2 the key of a progress file covers the bytes of the source files; before, their names, lengths and times.
const PROGRESS_FORMAT: u32 = 2;

#[derive(Debug, Clone)]
pub struct SubjectData {
    /// [N, C, H, W].
    pub image: Vec<f32>,
    /// `[N]`.
    pub label: Vec<u8>,
    /// [N, H, W], where there are masks.
    pub mask: Option<Vec<u8>>,
    /// `[N]`.
    pub slice_index: Vec<i32>,
    pub source: SourceGrid,
    /// What a user should know of it, in words: kept beside the file, not in it.
    pub notices: Vec<String>,
}

/// What a subject's file is known by once written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedSubject {
    pub slices: usize,
    /// Slices with label 1.
    pub lesion_slices: usize,
    /// blake3 of the file.
    pub digest: Digest,
    /// [`SubjectData::notices`], so that a later call that keeps the subject tells them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Why an earlier conversion of a subject is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// An earlier version wrote it, which did not look at the bytes of the source files.
    OlderVersion,
    /// It was made from other files, labels or settings, or by other rules.
    OtherInputs,
    /// Its file is not the one that was written.
    Damaged,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    /// [`PROGRESS_FORMAT`].
    #[serde(default)]
    format: u32,
    /// Digest over parameters and input files.
    key: Digest,
    /// Length of the subject's file in bytes.
    bytes: u64,
    #[serde(flatten)]
    converted: ConvertedSubject,
}

/// The one process that writes a store.
#[derive(Debug)]
pub struct StoreWriter {
    root: PathBuf,
    modalities: Vec<String>,
    size: usize,
    /// The folder was not there before, so it goes when nothing comes of the call.
    made_root: bool,
    /// Held, and so locked, as long as the writer lives.
    _lock: File,
}

impl StoreWriter {
    /// Takes the folder `root` for a store of `modalities` at `size`; it is made where absent.
    ///
    /// # Errors
    /// When the folder holds something else or a finished store of another kind, or another process writes it.
    pub fn create(root: &Path, modalities: &[String], size: usize) -> Result<Self, StoreError> {
        refuse_foreign(root)?;
        let made_root = !root.exists();
        // The sign first: a folder without it would be foreign to the next call.
        let lock = lock(root)?;
        let writer = Self {
            root: root.to_path_buf(),
            modalities: modalities.to_vec(),
            size,
            made_root,
            _lock: lock,
        };
        for folder in [SUBJECTS_FOLDER, PROGRESS_FOLDER] {
            durable::create_dir(&root.join(folder))?;
        }
        match SliceStore::open(root) {
            Ok(store) => {
                let found = store.manifest();
                if found.modalities != modalities || found.size != size {
                    return Err(StoreError::OtherStore {
                        folder: root.to_path_buf(),
                        found: describe(&found.modalities, found.size),
                        asked: describe(modalities, size),
                    });
                }
            }
            // Unfinished is what resuming is for; a damaged manifest is replaced.
            Err(StoreError::NoManifest(_) | StoreError::Damaged { .. }) => {}
            Err(e) => return Err(e),
        }
        Ok(writer)
    }

    /// The subject as written by an earlier call, if it was made from the same things (`key`) and its file has the very
    /// bytes and counts that it had then.
    pub fn kept(&self, id: &str, key: Digest) -> Option<ConvertedSubject> {
        let text = fs::read(self.progress_path(id)).ok()?;
        let progress: Progress = serde_json::from_slice(&text).ok()?;
        let length = fs::metadata(self.subject_path(id)).ok()?.len();
        if progress.key != key || progress.bytes != length {
            return None;
        }
        let converted = progress.converted;
        let expected = Expected {
            slices: converted.slices,
            lesion_slices: converted.lesion_slices,
            digest: converted.digest,
            channels: self.modalities.len(),
            size: self.size,
        };
        match SubjectFile::open(self.subject_path(id), &expected, &|_| {
            ControlFlow::Continue(())
        }) {
            Ok(_) => Some(converted),
            Err(error) => {
                tracing::warn!(subject = id, "converted again: {error}");
                None
            }
        }
    }

    /// Why [`Self::kept`] gives nothing for a subject that an earlier call did convert; `None` where none did.
    pub fn stale(&self, id: &str, key: Digest) -> Option<Stale> {
        let text = fs::read(self.progress_path(id)).ok()?;
        Some(match serde_json::from_slice::<Progress>(&text) {
            Ok(progress) if progress.format != PROGRESS_FORMAT => Stale::OlderVersion,
            Ok(progress) if progress.key != key => Stale::OtherInputs,
            Ok(_) | Err(_) => Stale::Damaged,
        })
    }

    /// Writes one subject; `key` is a digest of all that decides its bits. Any number of threads may call this, each
    /// with its own subject.
    ///
    /// # Errors
    /// When the arrays do not fit together or the disk refuses. The store has no manifest then.
    pub fn write_subject(
        &self,
        id: &str,
        key: Digest,
        data: &SubjectData,
    ) -> Result<ConvertedSubject, StoreError> {
        let bytes = self.encode(id, data)?;
        let converted = ConvertedSubject {
            slices: data.label.len(),
            lesion_slices: data.label.iter().filter(|label| **label == 1).count(),
            digest: Digest::of(&bytes),
            notices: data.notices.clone(),
        };
        // A manifest must never stand over files that are being replaced.
        remove(&self.root.join(MANIFEST_FILE))?;
        remove(&self.progress_path(id))?;
        let path = self.subject_path(id);
        durable::write(&path, &bytes)?;
        let progress = Progress {
            format: PROGRESS_FORMAT,
            key,
            bytes: bytes.len() as u64,
            converted: converted.clone(),
        };
        self.write_json(self.progress_path(id), &progress)?;
        Ok(converted)
    }

    /// Writes the manifest: from now on this is a store. Files of subjects that it does not name are removed.
    pub fn commit(
        self,
        subjects: Vec<SubjectRecord>,
        skipped: Vec<SkippedSubject>,
    ) -> Result<SliceStore, StoreError> {
        let manifest = StoreManifest::new(self.modalities.clone(), self.size, subjects, skipped);
        self.write_json(self.root.join(MANIFEST_FILE), &manifest)?;
        self.sweep(&manifest)?;
        SliceStore::open(&self.root)
    }

    /// Where the contact sheet of this store belongs.
    pub fn preview_path(root: &Path) -> PathBuf {
        root.join(PREVIEW_FILE)
    }

    fn encode(&self, id: &str, data: &SubjectData) -> Result<Vec<u8>, StoreError> {
        let inconsistent = |reason: String| StoreError::Inconsistent {
            id: id.to_owned(),
            reason,
        };
        if !is_plain_name(id) {
            return Err(inconsistent("not a plain file name".to_owned()));
        }
        let (slices, channels, size) = (data.label.len(), self.modalities.len(), self.size);
        let image: Vec<u8> = data.image.iter().flat_map(|x| x.to_le_bytes()).collect();
        let index: Vec<u8> = data
            .slice_index
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let tensors = [
            (
                "image",
                Dtype::F32,
                vec![slices, channels, size, size],
                Some(&image),
            ),
            ("label", Dtype::U8, vec![slices], Some(&data.label)),
            (
                "mask",
                Dtype::U8,
                vec![slices, size, size],
                data.mask.as_ref(),
            ),
            ("slice_index", Dtype::I32, vec![slices], Some(&index)),
        ];
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .filter_map(|(name, dtype, shape, bytes)| {
                bytes.map(|bytes| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            })
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|e| inconsistent(e.to_string()))?;
        let source =
            serde_json::to_string(&data.source).map_err(|e| inconsistent(e.to_string()))?;
        // One key only: the order of several would not be the same twice, and neither would the digest.
        let metadata = std::iter::once((SOURCE_KEY.to_owned(), source)).collect();
        safetensors::serialize(views, Some(metadata)).map_err(|e| inconsistent(e.to_string()))
    }

    fn sweep(&self, manifest: &StoreManifest) -> Result<(), StoreError> {
        for (folder, extension) in [(SUBJECTS_FOLDER, "safetensors"), (PROGRESS_FOLDER, "json")] {
            let folder = self.root.join(folder);
            let named: BTreeSet<String> = manifest
                .subjects
                .iter()
                .map(|subject| format!("{}.{extension}", subject.id))
                .collect();
            for entry in fs::read_dir(&folder).map_err(StoreError::read(&folder))? {
                let entry = entry.map_err(StoreError::read(&folder))?;
                if !entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| named.contains(name))
                {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn write_json(&self, path: PathBuf, value: &impl Serialize) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|e| DiskError::new("encode", &path, io::Error::other(e)))?;
        text.push(b'\n');
        Ok(durable::write(&path, &text)?)
    }

    fn subject_path(&self, id: &str) -> PathBuf {
        self.root
            .join(SUBJECTS_FOLDER)
            .join(format!("{id}.safetensors"))
    }

    fn progress_path(&self, id: &str) -> PathBuf {
        self.root.join(PROGRESS_FOLDER).join(format!("{id}.json"))
    }
}

impl Drop for StoreWriter {
    /// A call that converted nothing leaves nothing behind. What cannot be removed stays: it does no harm.
    fn drop(&mut self) {
        let empty =
            |folder: &Path| fs::read_dir(folder).is_ok_and(|mut list| list.next().is_none());
        let folders = [SUBJECTS_FOLDER, PROGRESS_FOLDER].map(|name| self.root.join(name));
        let nothing = !self.root.join(MANIFEST_FILE).exists()
            && folders
                .iter()
                .all(|folder| !folder.exists() || empty(folder));
        if nothing {
            for folder in &folders {
                fs::remove_dir(folder).ok();
            }
            fs::remove_file(self.root.join(LOCK_FILE)).ok();
            if self.made_root {
                fs::remove_dir(&self.root).ok();
            }
        }
    }
}

/// Makes and locks the folder. A process that was killed holds its lock until the system has cleared it away, so a call
/// right after it waits a little.
fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK_FILE);
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        durable::create_dir(root)?;
        let lock = File::create(&path).map_err(|e| DiskError::new("write", &path, e))?;
        match lock.try_lock() {
            // A call that came to nothing may have removed the file while this one waited for it.
            Ok(()) if is_at(&lock, &path) => return Ok(lock),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                std::thread::sleep(LOCK_PATIENCE / 20);
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(root.to_path_buf())),
            Err(TryLockError::Error(source)) => {
                return Err(DiskError::new("lock", &path, source).into());
            }
        }
    }
}

/// Whether `file` is the one that `path` names now.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    identity(held) == identity(named)
}

/// A folder may be taken when it is absent, empty, a store, or one of our unfinished ones.
fn refuse_foreign(root: &Path) -> Result<(), StoreError> {
    const OURS: [&str; 5] = [
        MANIFEST_FILE,
        SUBJECTS_FOLDER,
        PROGRESS_FOLDER,
        LOCK_FILE,
        PREVIEW_FILE,
    ];
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(StoreError::read(root)(source));
        }
    };
    let foreign = |found: String| StoreError::Foreign {
        folder: root.to_path_buf(),
        found,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(StoreError::read(root))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let temporary = name == "manifest.json.tmp";
        if !OURS.contains(&name.as_str()) && !temporary {
            return Err(foreign(name));
        }
        names.push(name);
    }
    let marked = names.iter().any(|name| name == LOCK_FILE);
    match names.first() {
        Some(first) if !marked && SliceStore::open(root).is_err() => Err(foreign(first.clone())),
        _ => Ok(()),
    }
}

fn describe(modalities: &[String], size: usize) -> String {
    format!("{} at {size} x {size}", modalities.join(","))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(durable::sync_parent(path)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(DiskError::new("remove", path, e).into()),
    }
}

#[cfg(test)]
mod tests;
