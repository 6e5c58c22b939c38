//! Image-level labels from a CSV, for subjects without a mask.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anofpdm_common::nearest::nearest;

use super::table_line::fields;

/// Room for ten million rows.
const MAX_BYTES: u64 = 512 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}: holds no label; expected rows subject,slice,label below that header line")]
    Empty(PathBuf),
    #[error("{0}: is larger than 512 MiB, so it is no labels file")]
    TooLarge(PathBuf),
    #[error(
        "{path}, line {line}: {reason}; expected subject,slice,label with slice counted from 0 and label 0 or 1"
    )]
    Line {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error(
        "{path}: slices are counted from 1: '{id}' has {slices} slices, a row for slice {slices} and none for slice 0; \
         subtract 1 from every slice number"
    )]
    FromOne {
        path: PathBuf,
        id: String,
        slices: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelRange {
    #[error("the labels file counts its slices from 1")]
    FromOne { slices: usize },
    #[error("the labels file has a row for slice {slice}, and the last slice is {}", slices - 1)]
    PastEnd { slice: usize, slices: usize },
}

/// Labels by subject and slice.
#[derive(Debug, Default)]
pub struct Labels {
    path: PathBuf,
    subjects: BTreeMap<String, BTreeMap<usize, u8>>,
}

impl Labels {
    /// Reads `subject,slice,label` rows below a header line. `slice` counts from 0 along the head axis of the
    /// oriented volume, `label` is 1 where the slice shows a lesion.
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let failed = |source| LabelsError::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > MAX_BYTES {
            return Err(LabelsError::TooLarge(path.to_path_buf()));
        }
        let mut subjects: BTreeMap<String, BTreeMap<usize, (u8, usize)>> = BTreeMap::new();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let bad = |reason: String| LabelsError::Line {
                path: path.to_path_buf(),
                line: index + 1,
                reason,
            };
            let line = line.map_err(|e| match e.kind() {
                ErrorKind::InvalidData => {
                    bad("is not UTF-8; save the file as CSV UTF-8".to_owned())
                }
                _ => failed(e),
            })?;
            let fields = fields(line.trim_start_matches('\u{feff}'))
                .map_err(|reason| bad(reason.to_owned()))?;
            if index == 0 {
                if fields != ["subject", "slice", "label"] {
                    return Err(bad(format!("the header is '{}'", line.trim())));
                }
                continue;
            }
            // Spreadsheets leave empty rows at the end.
            if fields.iter().all(String::is_empty) {
                continue;
            }
            let [subject, slice, label] = fields.as_slice() else {
                return Err(bad(format!("{} fields", fields.len())));
            };
            let slice = slice
                .parse()
                .map_err(|_| bad(format!("'{slice}' is not a slice number")))?;
            let label = match label.as_str() {
                "0" => 0,
                "1" => 1,
                other => return Err(bad(format!("'{other}' is not a label"))),
            };
            let previous = subjects
                .entry(subject.clone())
                .or_default()
                .insert(slice, (label, index + 1));
            if let Some((previous, first)) = previous {
                return Err(bad(if previous == label {
                    format!("slice {slice} of '{subject}' again, first in line {first}")
                } else {
                    format!(
                        "slice {slice} of '{subject}' has two labels, the other in line {first}"
                    )
                }));
            }
        }
        if subjects.is_empty() {
            return Err(LabelsError::Empty(path.to_path_buf()));
        }
        let subjects = subjects
            .into_iter()
            .map(|(subject, rows)| {
                let labels = rows.into_iter().map(|(slice, (label, _))| (slice, label));
                (subject, labels.collect())
            })
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            subjects,
        })
    }

    pub fn subject(&self, id: &str) -> Option<&BTreeMap<usize, u8>> {
        self.subjects.get(id)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Subjects with rows that `known` does not have, by name.
    pub fn strangers(&self, known: impl Fn(&str) -> bool) -> Vec<&str> {
        let ids = self.subjects.keys().map(String::as_str);
        ids.filter(|id| !known(id)).collect()
    }

    /// The subject with rows whose name is nearest to `id`, where one is near and not itself in `known`.
    pub fn nearest_stranger(&self, id: &str, known: impl Fn(&str) -> bool) -> Option<&str> {
        nearest(id, self.strangers(known))
    }

    /// The error of a file whose rows for `id` show that it counts from 1.
    pub fn from_one(&self, id: &str, slices: usize) -> LabelsError {
        LabelsError::FromOne {
            path: self.path.clone(),
            id: id.to_owned(),
            slices,
        }
    }
}

/// Compares a subject's labels with its number of slices along the head axis.
pub fn check_range(labels: &BTreeMap<usize, u8>, slices: usize) -> Result<(), LabelRange> {
    match labels.last_key_value() {
        Some((&last, _)) if last == slices && !labels.contains_key(&0) => {
            Err(LabelRange::FromOne { slices })
        }
        Some((&slice, _)) if slice >= slices => Err(LabelRange::PastEnd { slice, slices }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Labels, LabelsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        Labels::read(&path)
    }

    #[test]
    fn rows_become_labels() {
        for text in [
            "subject,slice,label\na,3,1\n a , 4 ,0\n\nb,0,0\n",
            "\u{feff}subject,slice,label\r\na,3,1\r\na,4,0\r\nb,0,0\r\n,,\r\n",
            "\"subject\",\"slice\",\"label\"\n\"a\",3,1\n\"a\",\"4\",\"0\"\n\"b\",0,0",
        ] {
            let labels = read(text.as_bytes()).unwrap();
            assert_eq!(
                labels.subject("a").unwrap(),
                &BTreeMap::from([(3, 1), (4, 0)])
            );
            assert!(labels.subject("c").is_none());
        }
    }

    #[test]
    fn bad_rows_are_named() {
        for (text, words) in [
            ("slice,label\n", "line 1: the header is 'slice,label'"),
            (
                "subject;slice;label\n",
                "line 1: the header is 'subject;slice;label'",
            ),
            ("subject,slice,label\na,1\n", "line 2: 2 fields"),
            (
                "subject,slice,label\na,-1,0\n",
                "line 2: '-1' is not a slice number",
            ),
            (
                "subject,slice,label\n\na,1,2\n",
                "line 3: '2' is not a label",
            ),
            ("subject,slice,label\na,1,\n", "line 2: '' is not a label"),
            (
                "subject,slice,label\na,1,0\na,1,1\n",
                "line 3: slice 1 of 'a' has two labels, the other in line 2",
            ),
            (
                "subject,slice,label\na,1,0\nb,1,0\na,1,0\n",
                "line 4: slice 1 of 'a' again, first in line 2",
            ),
            ("subject,slice,label\n\"a,1,0\n", "line 2: a quoted field"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, LabelsError::Line { .. }), "{text}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let latin = read(b"subject,slice,label\nM\xfcller,1,0\n").unwrap_err();
        assert!(
            latin.to_string().contains("line 2: is not UTF-8"),
            "{latin}"
        );
        for text in ["", "subject,slice,label\n", "subject,slice,label\n,,\n"] {
            assert!(matches!(read(text.as_bytes()), Err(LabelsError::Empty(_))));
        }
    }

    #[test]
    fn rows_beyond_the_volume() {
        let rows = |slices: &[usize]| slices.iter().map(|slice| (*slice, 0)).collect();
        assert_eq!(check_range(&rows(&[0, 1, 11]), 12), Ok(()));
        assert_eq!(check_range(&rows(&[1, 11]), 12), Ok(()));
        assert_eq!(
            check_range(&rows(&[1, 12]), 12),
            Err(LabelRange::FromOne { slices: 12 })
        );
        let past = |slice| Err(LabelRange::PastEnd { slice, slices: 12 });
        assert_eq!(check_range(&rows(&[0, 12]), 12), past(12));
        assert_eq!(check_range(&rows(&[1, 12, 13]), 12), past(13));
    }

    #[test]
    fn strangers_and_the_nearest_of_them() {
        let labels = read(b"subject,slice,label\ns00,1,0\ns0O,1,0\nother,1,0\n").unwrap();
        let known = |id: &str| matches!(id, "s00" | "s01");
        assert_eq!(labels.strangers(known), ["other", "s0O"]);
        assert_eq!(labels.nearest_stranger("s01", known), Some("s0O"));
        assert_eq!(labels.nearest_stranger("completely", known), None);
    }
}
