//! What a reader of the result should know beside it: files that were not used, names that fit nothing, masks that look
//! like something else. Each a sentence, few enough to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anofpdm_common::store::slices::{SkippedSubject, Stale};

use super::super::layouts::{Found, Unused};

/// Names and paths that one sentence lists.
const LISTED: usize = 4;

/// Reasons that a message lists.
const REASONS: usize = 10;

/// The first names and how many more there are.
pub(super) fn bounded<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Volumes that are there and not used, by reason.
pub(super) fn unused(found: &Found, root: &Path) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for Unused { path, reason, .. } in &found.unused {
        let path = path.strip_prefix(root).unwrap_or(path);
        let shown = path.to_string_lossy().into_owned();
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, paths)) => paths.push(shown),
            None => reasons.push((reason, vec![shown])),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, paths)| {
            let files = if paths.len() == 1 {
                "file is"
            } else {
                "files are"
            };
            format!(
                "{} {files} not used ({reason}): {}",
                paths.len(),
                bounded(&paths)
            )
        })
        .collect()
}

/// Modalities that only few subjects have, when nobody said which are wanted.
pub(super) fn rare_modalities(found: &Found, chosen: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for modality in found
        .subjects
        .values()
        .flat_map(|files| files.images.keys())
    {
        *counts.entry(modality).or_default() += 1;
    }
    let rare: Vec<String> = counts
        .into_iter()
        .filter(|(modality, _)| !chosen.iter().any(|name| name == modality))
        .map(|(modality, count)| format!("{modality} ({count} of {})", found.subjects.len()))
        .collect();
    (!rare.is_empty()).then(|| {
        format!(
            "left out, since most subjects lack it: {}; --modalities says what to convert",
            bounded(&rare)
        )
    })
}

/// The modalities that there are, when one that was asked for is nobody's.
pub(super) fn modalities_there(found: &Found, asked: &[String]) -> String {
    let images = found
        .subjects
        .values()
        .flat_map(|files| files.images.keys());
    let there: BTreeSet<&String> = images.collect();
    if there.is_empty() || asked.iter().all(|modality| there.contains(modality)) {
        return String::new();
    }
    let there: Vec<&String> = there.into_iter().collect();
    format!("; the modalities there are {}", bounded(&there))
}

/// What of a subject's own files is not used, for the end of the reason why it is skipped.
pub(super) fn unused_of(found: &Found, id: &str) -> String {
    let mut own = found
        .unused
        .iter()
        .filter(|unused| unused.subject.as_deref() == Some(id));
    let Some(first) = own.next() else {
        return String::new();
    };
    let name = first.path.file_name().unwrap_or_default().to_string_lossy();
    let more = match own.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("; not used: {name} ({}){more}", first.reason)
}

/// Subjects that an earlier call had converted and this one converted again.
pub(super) fn stale(reasons: &[Stale]) -> Vec<String> {
    let mut counts: BTreeMap<Stale, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(*reason).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(reason, count)| {
            let subjects = if count == 1 { "subject was" } else { "subjects were" };
            let why = match reason {
                Stale::OlderVersion => {
                    "the store is of an earlier version, which did not record the bytes of its source files"
                }
                Stale::OtherInputs => "the files, labels, settings or rules of conversion are others than before",
                Stale::Damaged => "what the store held is damaged",
            };
            format!("{count} {subjects} converted again: {why}")
        })
        .collect()
}

pub(super) fn skipped(skipped: &[SkippedSubject]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for subject in skipped {
        match reasons
            .iter_mut()
            .find(|(reason, _)| *reason == subject.reason)
        {
            Some((_, ids)) => ids.push(&subject.id),
            None => reasons.push((&subject.reason, vec![&subject.id])),
        }
    }
    let more = reasons.len().saturating_sub(REASONS);
    let mut text: String = reasons
        .iter()
        .take(REASONS)
        .map(|(reason, ids)| format!("\n  {}: {reason}", bounded(ids)))
        .collect();
    if more > 0 {
        text += &format!("\n  and {more} more reasons");
    }
    text
}
