//! `anofpdm report DIR`: the tables again, from the stored records, without a device.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::outcome::OutcomeArgs;
use crate::ledger::journal::read_ledger;
use crate::report;
use crate::run_folder::RunFolder;
use crate::{evaluate, spec_file::SpecFile};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm report runs/demo")]
pub struct ReportArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// Adds the records up and writes the report.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let spec_file = SpecFile::of(folder.spec()?, folder.root().join("spec.toml"));
    let ledger = read_ledger(&folder)?;
    let summary = evaluate::summarise(&spec_file, &folder, &ledger)?;
    report::write(&folder, &summary)?;
    args.outcome.print(&summary, folder.root())?;
    Ok(ExitCode::SUCCESS)
}
