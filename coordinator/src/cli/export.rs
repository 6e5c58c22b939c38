//! `anofpdm export RUN`: the tables of a report for other programs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::export::{Format, export};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anofpdm export runs/demo --format parquet
  anofpdm export demo --format csv --out tables

Writes results, patients and slices: docs/formats.md has their columns. They
name patients.")]
pub struct ExportArgs {
    /// A run with a report: a folder, a name under runs/, its report/ folder or summary.json
    run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// Folder of what is written; made where absent [default: report/ of the run]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the tables and names the files.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    for file in export(&args.run, args.format, args.out.as_deref())? {
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
