//! `anofpdm report DIR`: the tables again, from the stored records, without a device.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{print_checks, print_json};
use crate::ledger::journal::read_ledger;
use crate::report::{self, markdown};
use crate::run_folder::RunFolder;
use crate::{aggregate, bench_file::BenchFile};

/// Arguments of `anofpdm report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm report runs/demo")]
pub struct ReportArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print summary.json instead of the table
    #[arg(long)]
    json: bool,
}

/// Adds the records up and writes the report.
///
/// # Errors
/// When records are missing or damaged.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let bench = BenchFile::of(folder.spec()?, folder.root().join("spec.toml"));
    let ledger = read_ledger(&folder)?;
    let summary = aggregate::summarise(&bench, &folder, &ledger)?;
    report::write(&folder, &summary)?;
    if args.json {
        print_json(&summary)?;
    } else {
        println!("{}", markdown::table(&summary));
        print_checks(&summary);
    }
    Ok(ExitCode::SUCCESS)
}
