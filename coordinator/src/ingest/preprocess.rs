//! A whole data set: from a folder of NIfTI to a slice store. Subjects in parallel, at most one a thread in memory.

mod notes;
mod subject;

use std::path::{Path, PathBuf};

use anofpdm_common::store::slices::{
    ConvertedSubject, SkippedSubject, SliceStore, Stale, StoreError, StoreWriter, SubjectRecord,
};
use rayon::prelude::*;

use super::convert::{ChosenFiles, Conversion};
use super::labels::{Labels, LabelsError};
use super::layouts::{Found, LayoutName, advice, common_modalities, discover, printable};
use super::patient::patient_of;
use super::preview::{self, PreviewError};
use super::split::{Member, SplitError, SplitSource, name_strangers};
use super::unplaced::Unplaced;
use subject::{Done, Job};

#[derive(Debug, Clone)]
pub struct Request {
    pub input: PathBuf,
    pub store: PathBuf,
    /// Where the set keeps its files.
    pub layout: LayoutName,
    /// Channel order; those that most subjects have where `None`.
    pub modalities: Option<Vec<String>>,
    pub size: usize,
    /// CSV of image-level labels for subjects without a mask.
    pub labels: Option<PathBuf>,
    /// `75/5/20`, `reference` or a file.
    pub split: String,
    pub seed: u64,
    pub preview: bool,
    /// Subjects converted at once; all cores where `None`.
    pub threads: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    #[error("{path}: {source}")]
    Input {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: no subject found; this layout expects {expects}{advice}")]
    NoSubject {
        path: PathBuf,
        expects: &'static str,
        advice: String,
    },
    #[error(
        "{path}: no subject could be converted{advice}:{}",
        notes::skipped(skipped)
    )]
    AllSkipped {
        path: PathBuf,
        advice: String,
        skipped: Vec<SkippedSubject>,
    },
    #[error(
        "{path}: no modality is there for most of what was taken for subjects ({subjects}); this layout expects \
         {expects}{advice} (if the folder is right, name what to convert with --modalities)"
    )]
    NoModality {
        path: PathBuf,
        subjects: String,
        expects: &'static str,
        advice: String,
    },
    #[error(transparent)]
    Labels(#[from] LabelsError),
    #[error("--split: {0}")]
    Split(#[from] SplitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Preview(#[from] PreviewError),
    #[error("stopped before all subjects were converted")]
    Stopped,
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// What is told while subjects are converted; called from several threads.
pub trait Progress: Sync {
    /// Work begins on this many subjects.
    fn begin(&self, subjects: usize);
    fn done(&self, id: &str, outcome: &Outcome);
    /// True when no further subject is to be begun.
    fn stopped(&self) -> bool;
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Converted(ConvertedSubject),
    /// Kept from an earlier call.
    Kept(ConvertedSubject),
    /// Left out, and why.
    Skipped(String),
}

/// A finished store and how it came to be.
#[derive(Debug)]
pub struct Report {
    pub store: SliceStore,
    /// Subjects converted by this call.
    pub converted: usize,
    /// Subjects kept from an earlier call.
    pub kept: usize,
    /// What a reader should know beside it, a sentence each.
    pub notes: Vec<String>,
    pub preview: Option<PathBuf>,
}

/// Preprocesses a data set. Called again after an interruption, it keeps what is already converted.
///
/// # Errors
/// [`PreprocessError`]; there is then no finished store in the folder, or the one that was there before.
pub fn preprocess(request: &Request, progress: &dyn Progress) -> Result<Report, PreprocessError> {
    let layout = request.layout.layout();
    let found = discover(layout, &request.input).map_err(|source| PreprocessError::Input {
        path: request.input.clone(),
        source,
    })?;
    let conversion = Conversion {
        modalities: modalities(request, &found)?,
        size: request.size,
        orientation: layout.orientation,
        pad: layout.pads_to_square,
    };
    let labels = request.labels.as_deref().map(Labels::read).transpose()?;
    // A wrong split is told before the work, not after.
    let split = SplitSource::read(&request.split, Path::new(""))?;
    check_split(&split, &found, request.seed)?;

    let writer = StoreWriter::create(&request.store, &conversion.modalities, request.size)?;
    progress.begin(found.subjects.len());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(request.threads.unwrap_or(0))
        .build()?;
    let unplaced = pool
        .install(|| Unplaced::among(&first_images(&found, &conversion), conversion.orientation));
    let job = Job {
        writer: &writer,
        conversion: &conversion,
        labels: labels.as_ref(),
        found: &found,
        unplaced: &unplaced,
    };
    let outcomes: Vec<(&str, Done)> = pool.install(|| {
        found
            .subjects
            .par_iter()
            .map(|(id, files)| {
                if progress.stopped() {
                    return Err(PreprocessError::Stopped);
                }
                let done = job.subject(id, files)?;
                progress.done(id, &done.outcome);
                Ok((id.as_str(), done))
            })
            .collect::<Result<_, PreprocessError>>()
    })?;
    let mut notes = general_notes(request, &found, &conversion, labels.as_ref(), &split);
    notes.extend(unplaced.notice);
    let stale: Vec<Stale> = outcomes.iter().filter_map(|(_, done)| done.stale).collect();
    notes.extend(notes::stale(&stale));
    finish(
        request,
        &found,
        &conversion,
        &split,
        writer,
        outcomes,
        notes,
    )
}

/// The image that decides each subject's orientation, where its files are all there.
fn first_images<'a>(found: &'a Found, conversion: &Conversion) -> Vec<(&'a str, PathBuf)> {
    let subjects = found.subjects.iter();
    subjects
        .filter_map(|(id, files)| {
            let chosen = ChosenFiles::new(files, &conversion.modalities).ok()?;
            Some((id.as_str(), chosen.images.into_iter().next()?))
        })
        .collect()
}

/// Channel order: what was asked for, else what most subjects have.
fn modalities(request: &Request, found: &Found) -> Result<Vec<String>, PreprocessError> {
    let layout = request.layout.layout();
    let path = request.input.clone();
    if found.subjects.is_empty() {
        let advice = advice(request.layout, &path, found);
        return Err(if found.refused.is_empty() {
            PreprocessError::NoSubject {
                path,
                expects: layout.expects,
                advice,
            }
        } else {
            PreprocessError::AllSkipped {
                path,
                advice,
                skipped: refused(found),
            }
        });
    }
    let modalities = request
        .modalities
        .clone()
        .unwrap_or_else(|| common_modalities(layout, &found.subjects));
    if modalities.is_empty() {
        let subjects: Vec<&String> = found.subjects.keys().collect();
        return Err(PreprocessError::NoModality {
            advice: advice(request.layout, &path, found),
            path,
            subjects: printable(&notes::bounded(&subjects)),
            expects: layout.expects,
        });
    }
    Ok(modalities)
}

fn refused(found: &Found) -> Vec<SkippedSubject> {
    let refused = found.refused.iter();
    refused
        .map(|(id, reason)| SkippedSubject {
            id: printable(id),
            reason: reason.clone(),
        })
        .collect()
}

fn members(found: &Found) -> Vec<Member<'_>> {
    let ids = found.subjects.keys();
    ids.map(|id| Member {
        id,
        patient: patient_of(id),
    })
    .collect()
}

/// A file that lacks a subject is an error only if that subject is converted, so here it may; but not if it lacks all.
fn check_split(split: &SplitSource, found: &Found, seed: u64) -> Result<(), SplitError> {
    let members = members(found);
    match split.assign(&members, seed) {
        Err(SplitError::Missing { .. }) if split.names_any(&members) => Ok(()),
        checked => checked.map(|_| ()),
    }
}

/// What can be said before any subject is converted.
fn general_notes(
    request: &Request,
    found: &Found,
    conversion: &Conversion,
    labels: Option<&Labels>,
    split: &SplitSource,
) -> Vec<String> {
    let mut notes = notes::unused(found, &request.input);
    if request.modalities.is_none() {
        notes.extend(notes::rare_modalities(found, &conversion.modalities));
    }
    if let Some(labels) = labels {
        let known = |id: &str| found.subjects.contains_key(id) || found.refused.contains_key(id);
        let strangers = labels.strangers(known);
        if !strangers.is_empty() {
            let ids = || found.subjects.keys().map(String::as_str);
            notes.push(format!(
                "{}: has rows for {}",
                labels.path().display(),
                name_strangers(&strangers, ids)
            ));
        }
    }
    let mut members = members(found);
    members.extend(found.refused.keys().map(|id| Member::alone(id)));
    notes.extend(split.strangers(&members));
    notes
}

fn finish(
    request: &Request,
    found: &Found,
    conversion: &Conversion,
    split: &SplitSource,
    writer: StoreWriter,
    outcomes: Vec<(&str, Done)>,
    mut notes: Vec<String>,
) -> Result<Report, PreprocessError> {
    let kept = outcomes
        .iter()
        .filter(|(_, done)| matches!(done.outcome, Outcome::Kept(_)))
        .count();
    let mut subjects = Vec::new();
    let mut skipped = refused(found);
    for (id, done) in outcomes {
        match done.outcome {
            Outcome::Converted(subject) | Outcome::Kept(subject) => {
                notes.extend(subject.notices.iter().map(|text| format!("{id}: {text}")));
                subjects.push((id, subject));
            }
            Outcome::Skipped(reason) => skipped.push(SkippedSubject {
                id: printable(id),
                reason,
            }),
        }
    }
    if subjects.is_empty() {
        return Err(PreprocessError::AllSkipped {
            path: request.input.clone(),
            advice: advice(request.layout, &request.input, found)
                + &notes::modalities_there(found, &conversion.modalities),
            skipped,
        });
    }
    let members: Vec<Member<'_>> = subjects
        .iter()
        .map(|&(id, _)| Member {
            id,
            patient: patient_of(id),
        })
        .collect();
    let splits = split.assign(&members, request.seed)?;
    let converted = subjects.len() - kept;
    let records = subjects
        .into_iter()
        .zip(splits)
        .map(|((id, subject), split)| SubjectRecord {
            id: id.to_owned(),
            patient: Some(patient_of(id).to_owned()),
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
