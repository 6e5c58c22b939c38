//! Image-level labels from a CSV, for subjects without a mask.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Room for ten million rows.
const MAX_BYTES: u64 = 512 << 20;

/// What is wrong with a labels file.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not `subject,slice,label`.
    #[error(
        "{path}, line {line}: {reason}; expected subject,slice,label with slice counted from 0 and label 0 or 1"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Labels by subject and slice.
#[derive(Debug, Default)]
pub struct Labels(HashMap<String, BTreeMap<usize, u8>>);

impl Labels {
    /// Reads `subject,slice,label` rows below a header line. `slice` counts from 0 along the head axis of the
    /// oriented volume, `label` is 1 where the slice shows a lesion.
    ///
    /// # Errors
    /// [`LabelsError`] with the line.
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let failed = |source| LabelsError::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mut labels: HashMap<String, BTreeMap<usize, u8>> = HashMap::new();
        for (index, line) in BufReader::new(file.take(MAX_BYTES)).lines().enumerate() {
            let line = line.map_err(failed)?;
            let bad = |reason: String| LabelsError::Line {
                path: path.to_path_buf(),
                line: index + 1,
                reason,
            };
            let fields: Vec<&str> = line
                .trim_start_matches('\u{feff}')
                .split(',')
                .map(str::trim)
                .collect();
            if index == 0 {
                if fields != ["subject", "slice", "label"] {
                    return Err(bad(format!("the header is '{line}'")));
                }
                continue;
            }
            if fields == [""] {
                continue;
            }
            let &[subject, slice, label] = fields.as_slice() else {
                return Err(bad(format!("{} fields", fields.len())));
            };
            let slice = slice
                .parse()
                .map_err(|_| bad(format!("'{slice}' is not a slice number")))?;
            let label = match label {
                "0" => 0,
                "1" => 1,
                other => return Err(bad(format!("'{other}' is not a label"))),
            };
            let previous = labels
                .entry(subject.to_owned())
                .or_default()
                .insert(slice, label);
            if previous.is_some_and(|previous| previous != label) {
                return Err(bad(format!("slice {slice} of '{subject}' has two labels")));
            }
        }
        Ok(Self(labels))
    }

    /// The labels of a subject, by slice.
    pub fn subject(&self, id: &str) -> Option<&BTreeMap<usize, u8>> {
        self.0.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Labels, LabelsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        Labels::read(&path)
    }

    #[test]
    fn rows_become_labels() {
        let labels = read("subject,slice,label\na,3,1\n a , 4 ,0\n\nb,0,0\n").unwrap();
        assert_eq!(
            labels.subject("a").unwrap(),
            &BTreeMap::from([(3, 1), (4, 0)])
        );
        assert!(labels.subject("c").is_none());
    }

    #[test]
    fn bad_rows_are_named() {
        for text in [
            "slice,label\n",
            "subject,slice,label\na,1\n",
            "subject,slice,label\na,-1,0\n",
            "subject,slice,label\na,1,2\n",
            "subject,slice,label\na,1,0\na,1,1\n",
        ] {
            assert!(
                matches!(read(text), Err(LabelsError::Line { .. })),
                "{text}"
            );
        }
    }
}
