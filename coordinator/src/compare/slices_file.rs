//! `report/slices.csv` read back: which slices, and what each cell made of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anofpdm_common::metrics::overlap::Overlap;
use csv::{Reader, StringRecord};

use crate::report::slices::SliceName;
use crate::report::statistics::RowId;

/// Largest file that is read: a hundred times one of 10,000 slices, 12 methods and 3 seeds.
const MAX_BYTES: u64 = 8 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SlicesFileError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Csv { path: PathBuf, source: csv::Error },
    #[error("{path} has {bytes} bytes; at most {MAX_BYTES} are read")]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{path} has no column {column}: `anofpdm report RUN` writes it again")]
    Column { path: PathBuf, column: &'static str },
    #[error("{path}, line {line}: {what}; `anofpdm report RUN` writes it again")]
    Line {
        path: PathBuf,
        line: u64,
        what: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SlicesFile {
    /// In the order of the slice list.
    pub(super) names: Vec<SliceName>,
    pub(super) cells: Vec<Cell>,
}

/// One row of the table at one noise seed; `None` where it drew no noise and stands for all of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) row: RowId,
    pub(super) seed: Option<u64>,
    /// One a slice.
    pub(super) outcomes: Vec<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    pub(super) called_unhealthy: bool,
    pub(super) overlap: Overlap,
}

const COLUMNS: [&str; 12] = [
    "patient",
    "subject",
    "slice",
    "unhealthy",
    "brain",
    "method",
    "w",
    "seed",
    "called_unhealthy",
    "predicted",
    "truth",
    "intersection",
];

impl SlicesFile {
    /// Reads the file of a run whose slices have `pixels` pixels.
    ///
    /// # Errors
    /// When it cannot be read, lacks a column, holds what no slice can be, or its cells are not of the same slices.
    pub(super) fn read(path: &Path, pixels: u32) -> Result<Self, SlicesFileError> {
        let failed = |source| SlicesFileError::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > MAX_BYTES {
            return Err(SlicesFileError::TooLarge {
                path: path.to_path_buf(),
                bytes,
            });
        }
        let wrong = |source| SlicesFileError::Csv {
            path: path.to_path_buf(),
            source,
        };
        let mut reader = Reader::from_reader(file);
        let header = reader.headers().map_err(wrong)?;
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            let found = header.iter().position(|name| name == column);
            *place = found.ok_or_else(|| SlicesFileError::Column {
                path: path.to_path_buf(),
                column,
            })?;
        }
        let mut found = Self::default();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(wrong)? {
            let fields = places.map(|place| record.get(place).unwrap_or_default());
            let added = line(fields, pixels).and_then(|line| found.add(line));
            added.map_err(|what| SlicesFileError::Line {
                path: path.to_path_buf(),
                line: record.position().map_or(0, csv::Position::line),
                what,
            })?;
        }
        found.ended().map_err(|what| SlicesFileError::Line {
            path: path.to_path_buf(),
            line: reader.position().line(),
            what,
        })?;
        Ok(found)
    }

    fn add(&mut self, (name, row, seed, outcome): Line) -> Result<(), String> {
        let same = |cell: &Cell| cell.row == row && cell.seed == seed;
        if !self.cells.last().is_some_and(same) {
            self.ended()?;
            if self.cells.iter().any(same) {
                return Err(format!("{} has been there before", row.method));
            }
            self.cells.push(Cell {
                row,
                seed,
                outcomes: Vec::with_capacity(self.names.len()),
            });
        }
        let first = self.cells.len() == 1;
        let Some(cell) = self.cells.last_mut() else {
            return Ok(());
        };
        if first {
            self.names.push(name);
        } else if self.names.get(cell.outcomes.len()) != Some(&name) {
            return Err(format!(
                "slice {} of {} stands where the first method has another",
                name.slice, name.subject
            ));
        }
        cell.outcomes.push(outcome);
        Ok(())
    }

    /// Whether the last cell has all slices.
    fn ended(&self) -> Result<(), String> {
        match self.cells.last() {
            Some(cell) if cell.outcomes.len() < self.names.len() => Err(format!(
                "{} has {} slices, and the first method {}",
                cell.row.method,
                cell.outcomes.len(),
                self.names.len()
            )),
            _ => Ok(()),
        }
    }
}

type Line = (SliceName, RowId, Option<u64>, Outcome);

fn line(fields: [&str; COLUMNS.len()], pixels: u32) -> Result<Line, String> {
    let [
        patient,
        subject,
        slice,
        unhealthy,
        brain,
        method,
        w,
        seed,
        called,
        predicted,
        truth,
        intersection,
    ] = fields;
    let overlap = Overlap {
        pixels,
        predicted: parsed("predicted", predicted)?,
        truth: parsed("truth", truth)?,
        intersection: parsed("intersection", intersection)?,
    };
    let overlap = overlap.check().map_err(|error| error.to_string())?;
    let guidance: Option<f64> = optional("w", w)?;
    if guidance.is_some_and(|w| !w.is_finite()) {
        return Err(format!("w is {w}"));
    }
    let name = SliceName {
        patient: patient.to_owned(),
        subject: subject.to_owned(),
        slice: parsed("slice", slice)?,
        unhealthy: parsed("unhealthy", unhealthy)?,
        brain_area: parsed("brain", brain)?,
    };
    if name.unhealthy != (overlap.truth > 0) {
        return Err(format!(
            "unhealthy is {unhealthy} and truth {truth}, which cannot be"
        ));
    }
    let row = RowId {
        method: method.to_owned(),
        guidance,
    };
    let outcome = Outcome {
        called_unhealthy: parsed("called_unhealthy", called)?,
        overlap,
    };
    Ok((name, row, optional("seed", seed)?, outcome))
}

fn parsed<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' cannot be {column}"))
}

fn optional<T: std::str::FromStr>(column: &str, text: &str) -> Result<Option<T>, String> {
    match text {
        "" => Ok(None),
        text => parsed(column, text).map(Some),
    }
}
