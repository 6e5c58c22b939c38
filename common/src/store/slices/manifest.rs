//! `manifest.json`: what a slice store holds, and the digest of its data.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::spec::MAX_SCORED;

/// The `format` of the stores this version reads and writes.
pub const MANIFEST_FORMAT: &str = "anofpdm-slices-1";

/// What a subject's slices are for. All slices of a subject are for the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Networks learn from them.
    Train,
    /// Calibration reads their image-level labels.
    Validation,
    /// Scores are of these.
    Test,
}

impl Split {
    /// All three, in the order of `75/5/20`.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRecord {
    /// Name; its file is `subjects/ID.safetensors`.
    pub id: String,
    /// The patient, where several subjects are sessions of one; absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// What it is for by default; a run spec may say otherwise.
    pub split: Split,
    pub slices: usize,
    /// Slices with image-level label 1.
    pub lesion_slices: usize,
    /// blake3 of the subject's file.
    pub digest: Digest,
}

impl SubjectRecord {
    /// The patient: subjects with the same one are sessions of one person, and always of one split.
    pub fn patient(&self) -> &str {
        self.patient.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SkippedSubject {
    pub id: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// The contents of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreManifest {
    /// [`MANIFEST_FORMAT`].
    pub format: String,
    /// Channel order of the images.
    pub modalities: Vec<String>,
    /// Side of a slice in pixels; slices are square.
    pub size: usize,
    /// Digest of the data: modalities, size, subjects and their digests, not the split and not the patients.
    pub digest: Digest,
    /// Subjects, sorted by name.
    pub subjects: Vec<SubjectRecord>,
    /// What was left out and why, sorted by name.
    pub skipped: Vec<SkippedSubject>,
}

impl StoreManifest {
    /// A manifest of these subjects, sorted, with its digest.
    pub fn new(
        modalities: Vec<String>,
        size: usize,
        mut subjects: Vec<SubjectRecord>,
        mut skipped: Vec<SkippedSubject>,
    ) -> Self {
        subjects.sort_by(|a, b| a.id.cmp(&b.id));
        skipped.sort();
        let digest = data_digest(&modalities, size, &subjects);
        Self {
            format: MANIFEST_FORMAT.to_owned(),
            modalities,
            size,
            digest,
            subjects,
            skipped,
        }
    }

    pub fn subject(&self, id: &str) -> Option<&SubjectRecord> {
        self.subjects
            .binary_search_by(|subject| subject.id.as_str().cmp(id))
            .ok()
            .and_then(|index| self.subjects.get(index))
    }

    /// What is wrong with a manifest that was read, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if self.format != MANIFEST_FORMAT {
            return Some(format!(
                "format is '{}', not '{MANIFEST_FORMAT}'",
                self.format
            ));
        }
        if !(1..=MAX_SCORED).contains(&self.modalities.len())
            || !(1..=MAX_SIZE).contains(&self.size)
        {
            return Some(format!(
                "{} modalities of size {} are not slices",
                self.modalities.len(),
                self.size
            ));
        }
        if let Some(subject) = self
            .subjects
            .iter()
            .find(|subject| !is_plain_name(&subject.id))
        {
            return Some(format!("'{}' is not a subject name", subject.id));
        }
        if !self.subjects.is_sorted_by(|a, b| a.id < b.id) {
            return Some("subjects are not sorted, or one is named twice".to_owned());
        }
        if let Some(fault) = patient_fault(&self.subjects) {
            return Some(fault);
        }
        if data_digest(&self.modalities, self.size, &self.subjects) != self.digest {
            return Some("digest does not belong to its subjects".to_owned());
        }
        None
    }
}

/// Largest side of a slice: far above any scanner's, small enough that no product of sizes overflows.
pub(super) const MAX_SIZE: usize = 4_096;

/// A name that is one plain file name on any system: no separators, nothing hidden, no control characters.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\' | ':'))
}

/// What is wrong with the patients of these subjects, if anything.
fn patient_fault(subjects: &[SubjectRecord]) -> Option<String> {
    let mut splits: BTreeMap<&str, &SubjectRecord> = BTreeMap::new();
    for subject in subjects {
        let patient = subject.patient();
        if !is_plain_name(patient) {
            return Some(format!("'{patient}' is not a patient name"));
        }
        let first = *splits.entry(patient).or_insert(subject);
        if first.split != subject.split {
            return Some(format!(
                "'{}' is for {} and '{}' for {}, and both are of patient '{patient}'",
                first.id, first.split, subject.id, subject.split
            ));
        }
    }
    None
}

fn data_digest(modalities: &[String], size: usize, subjects: &[SubjectRecord]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        // Lengths in front, so that no two lists of fields give the same bytes.
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(MANIFEST_FORMAT.as_bytes());
    field(&(modalities.len() as u64).to_le_bytes());
    for modality in modalities {
        field(modality.as_bytes());
    }
    field(&(size as u64).to_le_bytes());
    for subject in subjects {
        field(subject.id.as_bytes());
        field(subject.digest.as_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, split: Split) -> SubjectRecord {
        SubjectRecord {
            id: id.to_owned(),
            patient: None,
            split,
            slices: 3,
            lesion_slices: 1,
            digest: Digest::of(id.as_bytes()),
        }
    }

    fn manifest(subjects: Vec<SubjectRecord>) -> StoreManifest {
        StoreManifest::new(vec!["flair".to_owned()], 128, subjects, Vec::new())
    }

    #[test]
    fn digest_ignores_split_and_order_but_not_the_data() {
        let a = manifest(vec![record("a", Split::Train), record("b", Split::Test)]);
        let b = manifest(vec![
            record("b", Split::Train),
            record("a", Split::Validation),
        ]);
        assert_eq!(a.digest, b.digest);
        assert_ne!(a.digest, manifest(vec![record("a", Split::Train)]).digest);
        assert_ne!(
            a.digest,
            StoreManifest::new(vec!["t1".to_owned()], 128, a.subjects.clone(), vec![]).digest
        );
        assert_ne!(
            a.digest,
            StoreManifest::new(vec!["flair".to_owned()], 64, a.subjects.clone(), vec![]).digest
        );
    }

    #[test]
    fn patients_are_optional_and_outside_the_digest() {
        let plain = manifest(vec![
            record("a", Split::Train),
            record("a_ses-2", Split::Train),
        ]);
        let mut sessions = plain.subjects.clone();
        for subject in &mut sessions {
            subject.patient = Some("a".to_owned());
        }
        let sessions = manifest(sessions);
        assert_eq!(sessions.digest, plain.digest);
        assert_eq!((plain.fault(), sessions.fault()), (None, None));
        // As earlier versions wrote it: no patient, so the subject itself.
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("patient"));
        let read: StoreManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read.subjects[1].patient(), "a_ses-2");
        let text = serde_json::to_string(&sessions).unwrap();
        let read: StoreManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read.subjects[1].patient(), "a");
    }

    #[test]
    fn a_patient_in_two_splits_is_a_fault() {
        let mut subjects = vec![record("a", Split::Train), record("a_ses-2", Split::Test)];
        for subject in &mut subjects {
            subject.patient = Some("a".to_owned());
        }
        assert_eq!(
            manifest(subjects).fault().unwrap(),
            "'a' is for train and 'a_ses-2' for test, and both are of patient 'a'"
        );
        let mut subject = record("a", Split::Train);
        subject.patient = Some("../a".to_owned());
        assert!(manifest(vec![subject]).fault().is_some());
    }

    #[test]
    fn split_names_are_the_contract() {
        for split in Split::ALL {
            assert_eq!(
                serde_json::to_string(&split).unwrap(),
                format!("\"{split}\"")
            );
        }
    }

    #[test]
    fn hostile_manifests_are_faulty() {
        let good = manifest(vec![record("a", Split::Train)]);
        assert_eq!(good.fault(), None);
        let faulty = |change: fn(&mut StoreManifest)| {
            let mut manifest = good.clone();
            change(&mut manifest);
            manifest.fault().is_some()
        };
        assert!(faulty(|m| m.format = "other".to_owned()));
        assert!(faulty(|m| m.size = usize::MAX));
        assert!(faulty(|m| m.modalities.clear()));
        assert!(faulty(|m| m.subjects[0].id = "../a".to_owned()));
        assert!(faulty(|m| m.subjects.push(m.subjects[0].clone())));
        assert!(faulty(|m| m.subjects[0].digest = Digest::of(b"x")));
    }
}
