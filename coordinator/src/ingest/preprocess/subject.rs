//! One subject of a call: kept, converted or skipped.

use anofpdm_common::store::slices::{Stale, StoreWriter, is_plain_name};

use super::super::convert::{ChosenFiles, Conversion, SkipReason, convert};
use super::super::head_share;
use super::super::labels::{LabelRange, Labels};
use super::super::layouts::{Found, SubjectFiles};
use super::super::source_key::source_key;
use super::super::unplaced::Unplaced;
use super::{Outcome, PreprocessError, notes};

/// Bytes of the longest name that is a file's on every system, with an ending behind it.
const LONGEST_NAME: usize = 200;

/// What converts the subjects of one call.
pub(super) struct Job<'a> {
    pub(super) writer: &'a StoreWriter,
    pub(super) conversion: &'a Conversion,
    pub(super) labels: Option<&'a Labels>,
    pub(super) found: &'a Found,
    pub(super) unplaced: &'a Unplaced,
}

pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// Why what an earlier call made of it was not kept.
    pub(super) stale: Option<Stale>,
}

impl Job<'_> {
    /// Converts a subject, or keeps what an earlier call made of it.
    ///
    /// # Errors
    /// What no other subject can be converted after, either.
    pub(super) fn subject(&self, id: &str, files: &SubjectFiles) -> Result<Done, PreprocessError> {
        let skipped = |reason: String| {
            Ok(Done {
                outcome: Outcome::Skipped(reason),
                stale: None,
            })
        };
        if let Some(fault) = name_fault(id) {
            return skipped(fault);
        }
        if let Some(reason) = self.unplaced.skipped.get(id) {
            return skipped(reason.to_string());
        }
        let chosen = match ChosenFiles::new(files, &self.conversion.modalities) {
            Ok(chosen) => chosen,
            Err(reason) => return skipped(self.explained(id, &reason)),
        };
        let labels = self
            .labels
            .and_then(|labels| labels.subject(id))
            .filter(|_| chosen.mask.is_none());
        let key = source_key(self.conversion, &chosen, labels).ok();
        let stale = match key {
            Some(key) => match self.writer.kept(id, key) {
                Some(kept) => {
                    return Ok(Done {
                        outcome: Outcome::Kept(kept),
                        stale: None,
                    });
                }
                None => self.writer.stale(id, key),
            },
            None => None,
        };
        match (convert(self.conversion, &chosen, labels), key) {
            (Ok(mut data), Some(key)) => {
                let channels = self.conversion.modalities.len();
                data.notices.extend(head_share::notice(&data, channels));
                Ok(Done {
                    outcome: Outcome::Converted(self.writer.write_subject(id, key, &data)?),
                    stale,
                })
            }
            (Ok(_), None) => {
                skipped("its files changed while they were read; run again".to_owned())
            }
            (Err(SkipReason::Labels(LabelRange::FromOne { slices })), _) => match self.labels {
                Some(labels) => Err(labels.from_one(id, slices).into()),
                None => skipped(SkipReason::NoTruth.to_string()),
            },
            (Err(reason), _) => skipped(self.explained(id, &reason)),
        }
    }

    /// The reason, with what is there and may have been meant.
    fn explained(&self, id: &str, reason: &SkipReason) -> String {
        let mut text = reason.to_string();
        if matches!(reason, SkipReason::MissingModality(_) | SkipReason::NoTruth) {
            text += &notes::unused_of(self.found, id);
        }
        if matches!(reason, SkipReason::NoTruth) {
            let known = |id: &str| self.found.subjects.contains_key(id);
            let near = self
                .labels
                .and_then(|labels| labels.nearest_stranger(id, known));
            if let Some(near) = near {
                text += &format!("; the labels file has rows for '{near}', which is no subject");
            }
        }
        text
    }
}

/// What is wrong with a subject's name, if anything.
fn name_fault(id: &str) -> Option<String> {
    if id.len() > LONGEST_NAME {
        return Some(format!(
            "the subject's name is too long: {} bytes, and {LONGEST_NAME} are allowed",
            id.len()
        ));
    }
    (!is_plain_name(id)).then(|| {
        "the subject's name has a character that file names cannot have everywhere (/ \\ : or a control character)"
            .to_owned()
    })
}
