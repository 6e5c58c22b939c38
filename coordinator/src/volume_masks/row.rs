//! A row for the table of a run: what another program's masks are on its slices, as counts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::Overlap;
use anofpdm_common::store::durable::{self, DiskError};
use serde::{Deserialize, Serialize};

use super::compare::ComparedVolume;
use super::scores::SliceScores;

/// Of the file.
const FORMAT: u32 = 1;

/// Room for a hundred thousand volumes.
const MAX_BYTES: u64 = 1 << 30;

/// Longest name of a method, bytes.
const LONGEST_NAME: usize = 80;

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: it is no row of `anofpdm metrics --row`: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutsideRow {
    pub format: u32,
    /// Name of the row.
    pub name: String,
    /// Digest of the slice store whose slices were counted; `None`: all slices of the volumes.
    pub store: Option<Digest>,
    /// Whether the program learned or chose anything with pixel labels.
    #[serde(default)]
    pub pixel_labels: bool,
    pub volumes: Vec<ComparedVolume>,
}

impl OutsideRow {
    pub fn new(name: &str, store: Option<Digest>, volumes: Vec<ComparedVolume>) -> Self {
        Self {
            format: FORMAT,
            name: name.to_owned(),
            store,
            pixel_labels: false,
            volumes,
        }
    }

    /// Writes the file whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RowError> {
        let json = serde_json::to_vec(self).map_err(|error| RowError::Format {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
        Ok(durable::write(path, &json)?)
    }

    /// Reads a file, and refuses counts that no masks have.
    pub fn read(path: &Path) -> Result<Self, RowError> {
        let failed = |source| RowError::Read {
            path: path.to_path_buf(),
            source,
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let wrong = |reason: String| RowError::Format {
            path: path.to_path_buf(),
            reason,
        };
        let row: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if row.format != FORMAT {
            return Err(wrong(format!(
                "format {}, this version reads {FORMAT}",
                row.format
            )));
        }
        if let Some(fault) = name_fault(&row.name) {
            return Err(wrong(fault.to_owned()));
        }
        for volume in &row.volumes {
            for slice in &volume.slices {
                let checked = slice.overlap.check();
                checked.map_err(|error| wrong(format!("case {}: {error}", volume.case)))?;
            }
        }
        Ok(row)
    }

    /// Scores by case and slice, of slices that have some.
    pub fn scores(&self) -> BTreeMap<(&str, u32), &SliceScores> {
        let volumes = self.volumes.iter();
        volumes
            .flat_map(|volume| {
                let slices = volume.slices.iter();
                slices.filter_map(|slice| {
                    Some(((volume.case.as_str(), slice.slice), slice.scores.as_ref()?))
                })
            })
            .collect()
    }

    /// Counts by case and slice.
    pub fn slices(&self) -> BTreeMap<(&str, u32), Overlap> {
        let volumes = self.volumes.iter();
        volumes
            .flat_map(|volume| {
                let slices = volume.slices.iter();
                slices.map(|slice| ((volume.case.as_str(), slice.slice), slice.overlap))
            })
            .collect()
    }
}

/// What is wrong with the name of a row, if anything.
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() || name.len() > LONGEST_NAME {
        return Some("the name of a row is 1 to 80 bytes long");
    }
    name.chars()
        .any(char::is_control)
        .then_some("the name of a row has a control character")
}

#[cfg(test)]
mod tests {
    use super::super::evaluation::tests::volume;
    use super::*;

    #[test]
    fn a_row_comes_back_and_a_wrong_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("row.json");
        let row = OutsideRow::new(
            "nnU-Net",
            Some(Digest::of(b"store")),
            vec![volume("a", "a", [[2, 4, 1], [0, 0, 0]])],
        );
        row.write(&path).unwrap();
        let back = OutsideRow::read(&path).unwrap();
        assert_eq!(back, row);
        assert_eq!(back.slices()[&("a", 0)].intersection, 1);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, why) in [
            ("\"format\":1", "\"format\":2", "format 2"),
            (
                "\"intersection\":1",
                "\"intersection\":3",
                "impossible pixel counts",
            ),
            ("nnU-Net", "a\\nb", "control character"),
            ("{", "[", "no row of"),
        ] {
            fs::write(&path, text.replacen(from, to, 9)).unwrap();
            let error = OutsideRow::read(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
