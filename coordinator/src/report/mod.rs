//! Writes the report of a run: `summary.json`, a Markdown table, a CSV table, and the loss curves of what was trained.

pub mod checks;
pub mod csv;
mod loss_picture;
pub mod markdown;
pub mod slices;
pub mod statistics;
pub mod summary;
pub mod terminal;
pub mod training;

use anofpdm_common::store::durable::{self, DiskError};

use crate::run_folder::RunFolder;
use summary::Summary;

/// Writes all files of the report.
pub fn write(folder: &RunFolder, summary: &Summary) -> Result<(), DiskError> {
    let mut json = serde_json::to_string_pretty(summary)
        .map_err(|error| DiskError::new("write", &folder.report(), error.into()))?;
    json.push('\n');
    for (name, text) in [
        ("summary.json", json),
        ("table.md", markdown::document(summary)),
        ("table.csv", csv::table(summary)),
    ] {
        durable::write(&folder.report().join(name), text.as_bytes())?;
    }
    let curves = training::curves(folder);
    if let Some(svg) = loss_picture::picture(&summary.run, &curves) {
        for (name, text) in [("loss.csv", training::table(&curves)), ("loss.svg", svg)] {
            durable::write(&folder.report().join(name), text.as_bytes())?;
        }
    }
    Ok(())
}
