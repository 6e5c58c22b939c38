//! Writes the report of a run: one page with everything, `summary.json`, tables for people, papers and programs, figures,
//! and the loss curves of what was trained.

pub mod checks;
pub mod csv;
pub mod data;
pub mod drawing;
pub mod exhibits;
pub mod figures;
pub mod latex;

mod maps_and_masks;
pub mod markdown;
pub mod marks;
pub mod page;
mod paired;
pub mod slices;
pub mod statistics;
pub mod summary;
pub mod terminal;
pub mod tidy;
pub mod training;

use std::io::ErrorKind;

use anofpdm_common::store::durable::{self, DiskError};

use crate::run_folder::RunFolder;
use figures::Figures;
use summary::Summary;

/// What `anofpdm export --format parquet` leaves beside a report.
const EXPORTED: [&str; 3] = ["results.parquet", "patients.parquet", "slices.parquet"];

/// Writes all files of the report.
pub fn write(folder: &RunFolder, summary: &Summary) -> Result<(), DiskError> {
    let report = folder.report();
    let mut json = serde_json::to_string_pretty(summary)
        .map_err(|error| DiskError::new("write", &report, error.into()))?;
    json.push('\n');
    let mut files = Vec::new();
    let mut slices = Vec::new();
    tidy::slices(&summary.slices, &mut slices)
        .map_err(|error| DiskError::new("write", &report, error))?;
    for (name, text) in [
        ("summary.json", json.into_bytes()),
        ("table.md", markdown::document(summary).into_bytes()),
        ("table.csv", csv::table(summary).into_bytes()),
        ("results.csv", tidy::results(summary).into_bytes()),
        ("patients.csv", tidy::patients(summary).into_bytes()),
        ("slices.csv", slices),
    ] {
        durable::write(&report.join(name), &text)?;
        files.push(name.to_owned());
    }
    // What `anofpdm export` made of an earlier report says something else.
    for name in EXPORTED {
        let path = report.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(DiskError::new("remove", &path, error));
            }
            _ => {}
        }
    }
    let tables = report.join("tables");
    durable::create_dir(&tables)?;
    for (name, text) in latex::tables(summary) {
        durable::write(&tables.join(name), text.as_bytes())?;
        files.push(format!("tables/{name}"));
    }
    let curves = training::curves(folder);
    if !curves.is_empty() {
        durable::write(
            &report.join("loss.csv"),
            training::table(&curves).as_bytes(),
        )?;
        files.push("loss.csv".to_owned());
    }
    let figures = Figures::of(summary, &curves);
    let drawn = figures::files::write(&report.join("figures"), &figures)?;
    files.extend(drawn.iter().map(|name| format!("figures/{name}")));
    // The page tells of its run where it can; the numbers do not depend on the spec.
    let spec = folder.spec().ok();
    let page = page::page(&page::Parts {
        summary,
        figures: &figures,
        spec: spec.as_ref(),
        version: env!("CARGO_PKG_VERSION"),
        files: &files,
    });
    durable::write(&report.join("report.html"), page.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod read_back;
#[cfg(test)]
pub(crate) mod tests;
