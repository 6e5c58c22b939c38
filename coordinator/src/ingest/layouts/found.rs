//! What a layout found: files by subject, and what it could not use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::listing::Listing;

const FOREIGN: &str =
    "only .nii and .nii.gz are read: convert it, e.g. with nibabel, mri_convert or dcm2niix";
const NOT_UTF8: &str = "the name is not UTF-8; rename it";
const OTHER_MASK: &str = "another mask of the subject is named as the lesion's";

/// The files of one subject. More than one file for the same thing is the subject's fault, told when it is converted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectFiles {
    pub images: BTreeMap<String, Vec<PathBuf>>,
    pub masks: Vec<PathBuf>,
}

/// A volume that is there and is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    pub path: PathBuf,
    pub subject: Option<String>,
    pub reason: &'static str,
}

/// What is below the folder of a data set.
#[derive(Debug, Default)]
pub struct Found {
    root: PathBuf,
    pub subjects: BTreeMap<String, SubjectFiles>,
    /// Subjects that cannot be looked at, and why.
    pub refused: BTreeMap<String, String>,
    /// Volumes that are not used, in the order in which they were met.
    pub unused: Vec<Unused>,
    /// Masks that are only called masks: they count where none is called the lesion's.
    plain_masks: Vec<(String, PathBuf)>,
}

/// A name that can be shown on a terminal.
pub fn printable(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

impl Found {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            ..Self::default()
        }
    }

    /// Names a subject, so that one without files is reported too.
    pub(super) fn subject(&mut self, id: &str) -> &mut SubjectFiles {
        self.subjects.entry(id.to_owned()).or_default()
    }

    pub(super) fn image(&mut self, id: &str, modality: &str, path: PathBuf) {
        self.subject(id)
            .images
            .entry(modality.to_owned())
            .or_default()
            .push(path);
    }

    /// A mask; `named` when its name calls it the lesion's.
    pub(super) fn mask(&mut self, id: &str, named: bool, path: PathBuf) {
        let subject = self.subject(id);
        if named {
            subject.masks.push(path);
        } else {
            self.plain_masks.push((id.to_owned(), path));
        }
    }

    pub(super) fn unused(&mut self, subject: Option<&str>, path: PathBuf, reason: &'static str) {
        self.unused.push(Unused {
            path,
            subject: subject.map(str::to_owned),
            reason,
        });
    }

    /// What is left out whole, under its place below the data set's folder.
    pub(super) fn refuse(&mut self, path: &Path, reason: impl Into<String>) {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        self.refused
            .insert(printable(&name.to_string_lossy()), reason.into());
    }

    /// What of a folder no layout can use: other formats and names that are not UTF-8.
    pub(super) fn set_aside(&mut self, subject: Option<&str>, listing: &Listing) {
        for (stem, path) in &listing.foreign {
            let cut = super::words::cut(stem).map(|(id, _)| id);
            self.unused(subject.or(cut), path.clone(), FOREIGN);
        }
        for (path, is_folder) in &listing.unnameable {
            match subject {
                None => self.refuse(path, NOT_UTF8),
                Some(_) if *is_folder => {}
                Some(_) => self.unused(subject, path.clone(), NOT_UTF8),
            }
        }
    }

    /// Lists a folder below the data set's; one that cannot be listed is refused, and the others go on.
    pub(super) fn list(&mut self, folder: &Path) -> Option<Listing> {
        match Listing::of(folder) {
            Ok(listing) => Some(listing),
            Err(error) => {
                self.refuse(folder, format!("the folder cannot be listed: {error}"));
                None
            }
        }
    }

    /// Decides what counts, once all files are known.
    pub(super) fn settle(&mut self) {
        self.subjects.retain(|id, _| !self.refused.contains_key(id));
        let named: BTreeSet<String> = self
            .subjects
            .iter()
            .filter(|(_, files)| !files.masks.is_empty())
            .map(|(id, _)| id.clone())
            .collect();
        for (id, path) in std::mem::take(&mut self.plain_masks) {
            if named.contains(&id) {
                self.unused(Some(&id), path, OTHER_MASK);
            } else if !self.refused.contains_key(&id) {
                self.subject(&id).masks.push(path);
            }
        }
    }
}
