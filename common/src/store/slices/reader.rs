//! Reading a slice store.
//!
//! Two views with different rights: [`ImageReader`] gives images and image-level labels and has no way to the pixel
//! masks, so what trains or calibrates from it cannot use them; [`TruthReader`] gives the masks, for evaluation.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::manifest::{StoreManifest, SubjectRecord};
use super::mirror::Mirror;
use super::subject_file::{Expected, SourceGrid, SubjectFile};
use super::{StoreError, Watch};
use crate::store::location::Location;
use crate::store::object::{CacheFolder, ObjectUrl};

pub(super) const MANIFEST_FILE: &str = "manifest.json";
pub(super) const SUBJECTS_FOLDER: &str = "subjects";

/// Room for a manifest of a hundred thousand subjects.
pub(super) const MAX_MANIFEST: u64 = 64 << 20;

#[derive(Debug, Clone)]
pub struct SliceStore {
    /// Where the files are, or copies of them.
    root: PathBuf,
    location: Location,
    manifest: Arc<StoreManifest>,
    mirror: Option<Arc<Mirror>>,
}

impl SliceStore {
    /// Opens the store that lies there.
    pub fn at(location: &Location) -> Result<Self, StoreError> {
        match location {
            Location::Local(root) => Self::open(root),
            Location::Remote(url) => Self::open_remote(url),
        }
    }

    /// Opens the store at `url` and checks its manifest. No subject is copied yet.
    fn open_remote(url: &ObjectUrl) -> Result<Self, StoreError> {
        let mirror = Mirror::open(url)?;
        let location = Location::Remote(url.clone());
        let Some(bytes) = mirror.manifest(MANIFEST_FILE, MAX_MANIFEST)? else {
            return Err(StoreError::NoManifest(location));
        };
        let manifest = parse(&bytes, &url.join(MANIFEST_FILE).to_string())?;
        Ok(Self {
            root: mirror.root(&manifest.digest),
            location,
            manifest: Arc::new(manifest),
            mirror: Some(Arc::new(mirror)),
        })
    }

    /// Opens the store at `root` and checks its manifest. No subject file is read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = root.as_ref().to_path_buf();
        let path = root.join(MANIFEST_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoManifest(root.into()));
            }
            Err(e) => return Err(StoreError::read(&path)(e)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST)
            .read_to_end(&mut bytes)
            .map_err(StoreError::read(&path))?;
        Ok(Self {
            location: root.clone().into(),
            root,
            manifest: Arc::new(parse(&bytes, &path.display().to_string())?),
            mirror: None,
        })
    }

    /// Where the store was opened.
    pub const fn location(&self) -> &Location {
        &self.location
    }

    pub fn manifest(&self) -> &StoreManifest {
        &self.manifest
    }

    /// The folder of the files, or of copies of some.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Images and image-level labels; no masks.
    pub fn images(&self) -> ImageReader {
        ImageReader(self.clone())
    }

    /// Pixel masks, for evaluation only.
    pub fn truth(&self) -> TruthReader {
        TruthReader(self.clone())
    }

    /// Compares the files of these subjects with the manifest, in parallel: bytes, counts, labels. What was found whole
    /// is not read again when a subject is opened later in this process.
    ///
    /// # Errors
    /// The first subject, in this order, that is unknown or not as the manifest says; [`StoreError::Stopped`] where
    /// `watch` breaks.
    pub fn verify<S: AsRef<str> + Sync>(
        &self,
        subjects: &[S],
        watch: &Watch<'_>,
    ) -> Result<(), StoreError> {
        subjects
            .par_iter()
            .map(|id| self.open_watched(id.as_ref(), watch).err())
            .find_map_first(|fault| fault)
            .map_or(Ok(()), Err)
    }

    /// Length of the files of these subjects, as far as they are here.
    pub fn bytes_of<S: AsRef<str>>(&self, subjects: &[S]) -> u64 {
        let length = |id: &S| {
            Some(
                std::fs::metadata(self.subject_path(id.as_ref()))
                    .ok()?
                    .len(),
            )
        };
        subjects.iter().filter_map(length).sum()
    }

    fn record(&self, id: &str) -> Result<&SubjectRecord, StoreError> {
        self.manifest
            .subject(id)
            .ok_or_else(|| StoreError::UnknownSubject {
                store: self.location.clone(),
                id: id.to_owned(),
            })
    }

    fn subject_path(&self, id: &str) -> PathBuf {
        self.root
            .join(SUBJECTS_FOLDER)
            .join(format!("{id}.safetensors"))
    }

    fn open_subject(&self, id: &str) -> Result<(SubjectFile, &SubjectRecord), StoreError> {
        let record = self.record(id)?;
        Ok((
            self.open_watched(id, &|_| ControlFlow::Continue(()))?,
            record,
        ))
    }

    fn open_watched(&self, id: &str, watch: &Watch<'_>) -> Result<SubjectFile, StoreError> {
        let record = self.record(id)?;
        let expected = Expected {
            slices: record.slices,
            lesion_slices: record.lesion_slices,
            digest: record.digest,
            channels: self.manifest.modalities.len(),
            size: self.manifest.size,
        };
        let path = self.subject_path(id);
        let Some(mirror) = &self.mirror else {
            return SubjectFile::open(path, &expected, watch);
        };
        let name = format!("{SUBJECTS_FOLDER}/{id}.safetensors");
        // Opened at once: another process may remove the copy at any time.
        let Ok(file) = File::open(&path) else {
            let file = mirror.copy(&name, &record.digest, &path)?;
            return SubjectFile::of(file, path, &expected, watch);
        };
        let opened = SubjectFile::of(file, path.clone(), &expected, watch);
        if !matches!(opened, Err(StoreError::Damaged { .. })) {
            CacheFolder::used(&path);
            return opened;
        }
        tracing::warn!(path = %path.display(), "a copy is damaged and is fetched again");
        let file = mirror.copy(&name, &record.digest, &path)?;
        SubjectFile::of(file, path, &expected, watch)
    }
}

fn parse(bytes: &[u8], place: &str) -> Result<StoreManifest, StoreError> {
    let manifest: StoreManifest =
        serde_json::from_slice(bytes).map_err(|e| StoreError::damaged(place, e.to_string()))?;
    match manifest.fault() {
        Some(fault) => Err(StoreError::damaged(place, fault)),
        None => Ok(manifest),
    }
}

/// The view that training and calibration get: images and image-level labels, never masks.
#[derive(Debug, Clone)]
pub struct ImageReader(SliceStore);

impl ImageReader {
    /// Opens a subject, verified: gives labels and slice numbers, no image yet.
    ///
    /// # Errors
    /// When the subject is unknown, or its file is damaged or not as the manifest says.
    pub fn subject(&self, id: &str) -> Result<SubjectImages, StoreError> {
        let (file, record) = self.0.open_subject(id)?;
        Ok(SubjectImages {
            id: record.id.clone(),
            channels: self.0.manifest.modalities.len(),
            size: self.0.manifest.size,
            slice_index: file.slice_index()?,
            labels: file.labels()?,
            file,
        })
    }

    /// [`SliceStore::verify`].
    pub fn verify<S: AsRef<str> + Sync>(
        &self,
        subjects: &[S],
        watch: &Watch<'_>,
    ) -> Result<(), StoreError> {
        self.0.verify(subjects, watch)
    }

    pub fn manifest(&self) -> &StoreManifest {
        &self.0.manifest
    }
}

/// One subject's images, read slice by slice.
#[derive(Debug)]
pub struct SubjectImages {
    pub id: String,
    /// Modalities C.
    pub channels: usize,
    /// Side of a slice: H = W.
    pub size: usize,
    /// Place of each slice in its volume, `[N]`.
    pub slice_index: Vec<i32>,
    /// Image-level labels, `[N]`: 1 where the slice shows a lesion.
    pub labels: Vec<u8>,
    file: SubjectFile,
}

impl SubjectImages {
    pub fn slices(&self) -> usize {
        self.labels.len()
    }

    pub fn source(&self) -> &SourceGrid {
        &self.file.source
    }

    /// Reads slice `n`, [C, H, W] of stored values, into `out`, replacing what was there. Only this slice is read.
    ///
    /// # Errors
    /// When `n` is past the end or the file cannot be read.
    pub fn read_slice(&self, n: usize, out: &mut Vec<f32>) -> Result<(), StoreError> {
        let slices = self.slices();
        if n >= slices {
            return Err(StoreError::NoSlice {
                id: self.id.clone(),
                slice: n,
                slices,
            });
        }
        self.file.read_image(n, slices, out)
    }
}

/// The view that evaluation gets: pixel masks.
#[derive(Debug, Clone)]
pub struct TruthReader(SliceStore);

impl TruthReader {
    /// The mask of slice `n` of a subject, [H, W], 1 on lesion pixels; `None` where nobody drew masks.
    ///
    /// # Errors
    /// When the subject is unknown, `n` is past its end, or its file is damaged.
    pub fn mask(&self, id: &str, n: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let (file, record) = self.0.open_subject(id)?;
        if n >= record.slices {
            return Err(StoreError::NoSlice {
                id: id.to_owned(),
                slice: n,
                slices: record.slices,
            });
        }
        file.read_mask(n, record.slices)
    }
}
