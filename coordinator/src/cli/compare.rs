//! `anofpdm compare R1 R2 …`: runs beside each other, from their reports.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::store::durable;
use anyhow::bail;
use clap::Args;

use super::failure::UsageError;
use super::print_json;
use crate::compare::pictures::pictured;
use crate::compare::{MOST_RUNS, Runs, page, text};

/// Longest line of prose.
const LINE: usize = 120;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anofpdm compare runs/before runs/after
  anofpdm compare a b c --intersect --html compared.html

Differences are those of the later run less the earlier one, by patient. All
numbers are of the reports: stores and records may be elsewhere; the page shows
the slices that differ most where they are at hand.")]
pub struct CompareArgs {
    /// Runs: folders, names under runs/, their report/ folders or summary.json files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the runs are of other slices, compare those that all have
    #[arg(long)]
    intersect: bool,
    /// How many of the slices that differ most are named, in each set-up
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1_000))]
    slices: u16,
    /// Write a page with everything, a figure of patients and a viewer of slices
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares, writes the page where one is asked for, and prints.
pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    if !(2..=MOST_RUNS).contains(&args.runs.len()) {
        let message = format!("name 2 to {MOST_RUNS} runs: {} given", args.runs.len());
        bail!(UsageError(message));
    }
    let runs = Runs::open(&args.runs)?;
    let compared = runs.compare(args.intersect, args.slices.into())?;
    if let Some(path) = &args.html {
        let page = page::page(&compared, &pictured(&runs, &compared));
        durable::write(path, page.as_bytes())?;
    }
    if args.json {
        return print_json(&compared);
    }
    let columns = super::outcome::columns().map_or(LINE, |columns| columns.min(LINE));
    let lines = text::lines(&compared, columns);
    let mut out = io::stdout().lock();
    let mut printed = writeln!(out, "{}", lines.join("\n"));
    if let Some(path) = &args.html {
        printed = printed.and_then(|()| writeln!(out, "\npage         {}", path.display()));
    }
    match printed {
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        done => done?,
    }
    Ok(ExitCode::SUCCESS)
}
