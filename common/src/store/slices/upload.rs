//! A slice store on its way into an object store.

use std::ops::ControlFlow;

use super::reader::{MANIFEST_FILE, MAX_MANIFEST, SUBJECTS_FOLDER, SliceStore};
use super::{StoreError, StoreManifest};
use crate::store::durable::DiskError;
use crate::store::object::{Created, ObjectError, ObjectFolder, ObjectSettings, ObjectUrl};

/// What an upload found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    New,
    /// The same slices are there, as a finished store.
    WasThere,
}

impl SliceStore {
    /// Copies this store to `url`: subjects first, each compared with the manifest before, and the manifest last, so that
    /// what is there before the end is no store. `went` is told the bytes of each subject, and breaks where it should stop.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] where other slices are there; [`StoreError::Stopped`].
    pub fn upload(
        &self,
        url: &ObjectUrl,
        went: &dyn Fn(u64) -> ControlFlow<()>,
    ) -> Result<Uploaded, StoreError> {
        let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
        let folder = ObjectFolder::open(url, &settings)?;
        folder.check_writable()?;
        if let Some(there) = folder.read(MANIFEST_FILE, MAX_MANIFEST)? {
            return self.compare(&there, url);
        }
        for subject in &self.manifest().subjects {
            let id = subject.id.as_str();
            self.verify(&[id], &|_| ControlFlow::Continue(()))?;
            let name = format!("{SUBJECTS_FOLDER}/{id}.safetensors");
            folder.upload(&name, &self.root().join(&name))?;
            if went(self.bytes_of(&[id])).is_break() {
                return Err(StoreError::Stopped);
            }
        }
        let path = self.root().join(MANIFEST_FILE);
        let manifest =
            std::fs::read(&path).map_err(|error| DiskError::new("read", &path, error))?;
        match folder.create(MANIFEST_FILE, manifest.into())? {
            Created::New => Ok(Uploaded::New),
            // Somebody else has been faster.
            Created::WasThere => match folder.read(MANIFEST_FILE, MAX_MANIFEST)? {
                Some(there) => self.compare(&there, url),
                None => Err(StoreError::NoManifest(url.clone().into())),
            },
        }
    }

    fn compare(&self, there: &[u8], url: &ObjectUrl) -> Result<Uploaded, StoreError> {
        let place = url.join(MANIFEST_FILE).to_string();
        let there: StoreManifest = serde_json::from_slice(there)
            .map_err(|e| StoreError::damaged(&place, e.to_string()))?;
        if there == *self.manifest() {
            return Ok(Uploaded::WasThere);
        }
        let named = |manifest: &StoreManifest| {
            format!(
                "{} subjects of {} x {} pixels (digest {})",
                manifest.subjects.len(),
                manifest.size,
                manifest.size,
                manifest.digest.short()
            )
        };
        Err(StoreError::OtherStore {
            folder: url.to_string().into(),
            found: named(&there),
            asked: named(self.manifest()),
        })
    }
}
