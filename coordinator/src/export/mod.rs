//! The tables of a report for other programs, as CSV or Parquet.

mod columns;
mod parquet_file;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anofpdm_common::store::durable::{self, DiskError};
use parquet::errors::ParquetError;

use crate::compare::{CompareError, checked_report};
use crate::report::tidy;
use columns::{PATIENTS, RESULTS, SLICES, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Csv,
    Parquet,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    // Printed, so that exit codes find what it holds in the chain.
    #[error("{0}")]
    Report(#[from] CompareError),
    #[error("{table}.csv: {source}")]
    Csv {
        table: &'static str,
        source: csv::Error,
    },
    #[error(
        "{table}.csv has a column {column:?}, which is not one of this version: `anofpdm report RUN` writes it again"
    )]
    Column { table: &'static str, column: String },
    #[error(
        "{table}.csv, line {line}: {field:?} cannot be {column}: `anofpdm report RUN` writes it again"
    )]
    Field {
        table: &'static str,
        line: u64,
        column: String,
        field: String,
    },
    #[error("{0}")]
    Parquet(#[from] ParquetError),
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes the tables of the run (or report) at `path` into `out`, the folder of the report unless another is named, and
/// gives the files.
///
/// # Errors
/// When there is no report, its files do not belong together, or the folder cannot be written to.
pub fn export(
    path: &Path,
    format: Format,
    out: Option<&Path>,
) -> Result<Vec<PathBuf>, ExportError> {
    let (report, summary) = checked_report(path)?;
    let out = out.unwrap_or(&report);
    durable::create_dir(out)?;
    let slices = report.join("slices.csv");
    let notes = [
        ("anofpdm.run", summary.run.clone()),
        ("anofpdm.fingerprint", summary.fingerprint.to_string()),
    ];
    let written = |table: Table, bytes: &[u8], end: &str| -> Result<PathBuf, ExportError> {
        let path = out.join(format!("{}.{end}", table.name));
        durable::write(&path, bytes)?;
        Ok(path)
    };
    let mut files = Vec::new();
    for (table, text) in [
        (RESULTS, tidy::results(&summary)),
        (PATIENTS, tidy::patients(&summary)),
    ] {
        files.push(match format {
            Format::Csv => written(table, text.as_bytes(), "csv")?,
            Format::Parquet => written(
                table,
                &parquet_file::parquet(table, text.as_bytes(), &notes)?,
                "parquet",
            )?,
        });
    }
    files.push(match format {
        Format::Csv => copied(&slices, &out.join("slices.csv"))?,
        Format::Parquet => {
            let file = File::open(&slices).map_err(|source| ExportError::Read {
                path: slices.clone(),
                source,
            })?;
            written(
                SLICES,
                &parquet_file::parquet(SLICES, file, &notes)?,
                "parquet",
            )?
        }
    });
    Ok(files)
}

/// A table that is there already, in another folder.
fn copied(from: &Path, to: &Path) -> Result<PathBuf, ExportError> {
    let same = to.canonicalize().ok().zip(from.canonicalize().ok());
    if same.is_some_and(|(to, from)| to == from) {
        return Ok(to.to_path_buf());
    }
    let temporary = to.with_extension("csv.tmp");
    let failed = |error| DiskError::new("write", to, error);
    std::fs::copy(from, &temporary).map_err(failed)?;
    File::open(&temporary)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    durable::rename(&temporary, to)?;
    Ok(to.to_path_buf())
}
