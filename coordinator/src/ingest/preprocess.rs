//! A whole data set: from a folder of NIfTI to a slice store. Subjects in parallel, at most one a thread in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::slices::{
    ConvertedSubject, SkippedSubject, SliceStore, StoreError, StoreWriter, SubjectRecord,
    is_plain_name,
};
use rayon::prelude::*;

use super::convert::{ChosenFiles, Conversion, SkipReason, convert};
use super::labels::{Labels, LabelsError};
use super::layouts::{LayoutName, SubjectFiles, common_modalities, discover};
use super::preview::{self, PreviewError};
use super::split::{self, SplitError};
use super::unplaced::Unplaced;

/// Changes whenever the same inputs would give other bits, so that subjects converted before are done again.
const CONVERSION_VERSION: &str = "anofpdm-conversion-2";

/// What to preprocess, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Folder of the data set.
    pub input: PathBuf,
    /// Folder of the store.
    pub store: PathBuf,
    /// Where the set keeps its files.
    pub layout: LayoutName,
    /// Channel order; those that most subjects have where `None`.
    pub modalities: Option<Vec<String>>,
    /// Side of the stored slices.
    pub size: usize,
    /// CSV of image-level labels for subjects without a mask.
    pub labels: Option<PathBuf>,
    /// `75/5/20`, `reference` or a file.
    pub split: String,
    /// Seed of a ratio split.
    pub seed: u64,
    /// Write a contact sheet.
    pub preview: bool,
    /// Subjects converted at once; all cores where `None`.
    pub threads: Option<usize>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// The data set cannot be listed.
    #[error("{path}: {source}")]
    Input {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing that looks like a subject.
    #[error("{path}: no subject found; this layout expects {expects}")]
    NoSubject {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        expects: &'static str,
    },
    /// Every subject was skipped.
    #[error("{path}: no subject could be converted:{}", list(skipped))]
    AllSkipped {
        /// The folder.
        path: PathBuf,
        /// Why each was not.
        skipped: Vec<SkippedSubject>,
    },
    /// No modality in common.
    #[error("{0}: no modality is there for most subjects; name those to convert with --modalities")]
    NoModality(PathBuf),
    /// The labels file.
    #[error("{0}")]
    Labels(#[from] LabelsError),
    /// The split.
    #[error("--split: {0}")]
    Split(#[from] SplitError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The contact sheet; the store itself is finished.
    #[error("{0}")]
    Preview(#[from] PreviewError),
    /// [`Progress::stopped`]; what was converted is kept for the next call.
    #[error("stopped before all subjects were converted")]
    Stopped,
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

fn list(skipped: &[SkippedSubject]) -> String {
    skipped
        .iter()
        .map(|subject| format!("\n  {}: {}", subject.id, subject.reason))
        .collect()
}

/// What is told while subjects are converted; called from several threads.
pub trait Progress: Sync {
    /// Work begins on this many subjects.
    fn begin(&self, subjects: usize);
    /// One subject is done.
    fn done(&self, id: &str, outcome: &Outcome);
    /// True when no further subject is to be begun.
    fn stopped(&self) -> bool;
}

/// What became of a subject.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Converted now.
    Converted(ConvertedSubject),
    /// Kept from an earlier call.
    Kept(ConvertedSubject),
    /// Left out, and why.
    Skipped(String),
}

/// A finished store and how it came to be.
#[derive(Debug)]
pub struct Report {
    /// The store.
    pub store: SliceStore,
    /// Subjects converted by this call.
    pub converted: usize,
    /// Subjects kept from an earlier call.
    pub kept: usize,
    /// What a reader should know beside it, a sentence each.
    pub notes: Vec<String>,
    /// The contact sheet, if asked for.
    pub preview: Option<PathBuf>,
}

/// Preprocesses a data set. Called again after an interruption, it keeps what is already converted.
///
/// # Errors
/// [`PreprocessError`]; there is then no finished store in the folder, or the one that was there before.
pub fn preprocess(request: &Request, progress: &dyn Progress) -> Result<Report, PreprocessError> {
    let layout = request.layout.layout();
    let subjects = discover(layout, &request.input).map_err(|source| PreprocessError::Input {
        path: request.input.clone(),
        source,
    })?;
    if subjects.is_empty() {
        return Err(PreprocessError::NoSubject {
            path: request.input.clone(),
            expects: layout.expects(),
        });
    }
    let modalities = request
        .modalities
        .clone()
        .unwrap_or_else(|| common_modalities(layout, &subjects));
    if modalities.is_empty() {
        return Err(PreprocessError::NoModality(request.input.clone()));
    }
    let labels = request.labels.as_deref().map(Labels::read).transpose()?;
    // A wrong split is told before the work, not after.
    let ids: Vec<&str> = subjects.keys().map(String::as_str).collect();
    check_split(request, &ids)?;
    let conversion = Conversion {
        modalities,
        size: request.size,
        orientation: layout.orientation(),
        pad: layout.pads_to_square(),
    };

    let writer = StoreWriter::create(&request.store, &conversion.modalities, request.size)?;
    progress.begin(subjects.len());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(request.threads.unwrap_or(0))
        .build()?;
    let unplaced = pool.install(|| {
        Unplaced::among(
            &first_images(&subjects, &conversion),
            conversion.orientation,
        )
    });
    let outcomes: Vec<(&str, Outcome)> = pool.install(|| {
        subjects
            .par_iter()
            .map(|(id, files)| {
                if progress.stopped() {
                    return Err(PreprocessError::Stopped);
                }
                let outcome = match unplaced.skipped.get(id) {
                    Some(reason) => Outcome::Skipped(reason.to_string()),
                    None => one_subject(&writer, &conversion, labels.as_ref(), id, files)?,
                };
                progress.done(id, &outcome);
                Ok((id.as_str(), outcome))
            })
            .collect::<Result<_, PreprocessError>>()
    })?;
    finish(request, writer, outcomes, unplaced.notice)
}

/// The image that decides each subject's orientation, where its files are all there.
fn first_images<'a>(
    subjects: &'a BTreeMap<String, SubjectFiles>,
    conversion: &Conversion,
) -> Vec<(&'a str, PathBuf)> {
    subjects
        .iter()
        .filter_map(|(id, files)| {
            let chosen = ChosenFiles::new(files, &conversion.modalities).ok()?;
            Some((id.as_str(), chosen.images.into_iter().next()?))
        })
        .collect()
}

/// Ratios and `reference` are parsed by applying them; a file that lacks a subject is an error only if that subject
/// is converted, so here it may.
fn check_split(request: &Request, ids: &[&str]) -> Result<(), SplitError> {
    match split::assign(&request.split, Path::new(""), ids, request.seed) {
        Err(SplitError::Missing { .. }) | Ok(_) => Ok(()),
        Err(e) => Err(e),
    }
}

fn one_subject(
    writer: &StoreWriter,
    conversion: &Conversion,
    labels: Option<&Labels>,
    id: &str,
    files: &SubjectFiles,
) -> Result<Outcome, StoreError> {
    let skipped = |reason: SkipReason| Ok(Outcome::Skipped(reason.to_string()));
    if !is_plain_name(id) {
        return skipped(SkipReason::Name);
    }
    let chosen = match ChosenFiles::new(files, &conversion.modalities) {
        Ok(chosen) => chosen,
        Err(reason) => return skipped(reason),
    };
    let labels = labels
        .and_then(|labels| labels.subject(id))
        .filter(|_| chosen.mask.is_none());
    let key = conversion_key(conversion, &chosen, labels);
    if let Some(kept) = writer.kept(id, key) {
        return Ok(Outcome::Kept(kept));
    }
    match convert(conversion, &chosen, labels) {
        Ok(data) => writer.write_subject(id, key, &data).map(Outcome::Converted),
        Err(reason) => skipped(reason),
    }
}

/// Digest of everything that decides a subject's bits; input files count by name, length and time of change.
fn conversion_key(
    conversion: &Conversion,
    files: &ChosenFiles,
    labels: Option<&BTreeMap<usize, u8>>,
) -> Digest {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok();
        let changed = metadata
            .as_ref()
            .and_then(|m| m.modified().ok())
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        (
            path.file_name().map(ToOwned::to_owned),
            metadata.map(|m| m.len()),
            changed,
        )
    };
    let images: Vec<_> = files.images.iter().map(stamp).collect();
    let mask = files.mask.as_ref().map(stamp);
    Digest::of(
        format!("{CONVERSION_VERSION} {conversion:?} {images:?} {mask:?} {labels:?}").as_bytes(),
    )
}

fn finish(
    request: &Request,
    writer: StoreWriter,
    outcomes: Vec<(&str, Outcome)>,
    notice: Option<String>,
) -> Result<Report, PreprocessError> {
    let mut notes = Vec::from_iter(notice);
    let kept = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Kept(_)))
        .count();
    let mut subjects = Vec::new();
    let mut skipped = Vec::new();
    for (id, outcome) in outcomes {
        match outcome {
            Outcome::Converted(subject) | Outcome::Kept(subject) => {
                notes.extend(subject.notices.iter().map(|text| format!("{id}: {text}")));
                subjects.push((id, subject));
            }
            Outcome::Skipped(reason) => skipped.push(SkippedSubject {
                id: id.to_owned(),
                reason,
            }),
        }
    }
    if subjects.is_empty() {
        return Err(PreprocessError::AllSkipped {
            path: request.input.clone(),
            skipped,
        });
    }
    let ids: Vec<&str> = subjects.iter().map(|(id, _)| *id).collect();
    let splits = split::assign(&request.split, Path::new(""), &ids, request.seed)?;
    let converted = subjects.len() - kept;
    let records = subjects
        .into_iter()
        .zip(splits)
        .map(|((id, subject), split)| SubjectRecord {
            id: id.to_owned(),
            split,
            slices: subject.slices,
            lesion_slices: subject.lesion_slices,
            digest: subject.digest,
        })
        .collect();
    let store = writer.commit(records, skipped)?;
    let preview = request
        .preview
        .then(|| preview::write(&store))
        .transpose()?;
    Ok(Report {
        store,
        converted,
        kept,
        notes,
        preview,
    })
}

#[cfg(test)]
mod tests;
