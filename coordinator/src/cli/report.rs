//! `anofpdm report DIR`: the tables again, from the stored records, without a device.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::outcome::OutcomeArgs;
use crate::evaluate::outside::RowFile;
use crate::ledger::journal::read_ledger;
use crate::report;
use crate::run_folder::RunFolder;
use crate::volume_masks::row::OutsideRow;
use crate::{evaluate, spec_file::SpecFile};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm report runs/demo\n  anofpdm report runs/mine --with nnunet.json"
)]
pub struct ReportArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// A row of another program, from `anofpdm metrics --row` (may be given several times)
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// Adds the records up and writes the report.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let spec_file = SpecFile::of(folder.spec()?, folder.root().join("spec.toml"));
    let ledger = read_ledger(&folder)?;
    let outside = args
        .with
        .iter()
        .map(|path| {
            Ok(RowFile {
                path: path.clone(),
                row: OutsideRow::read(path).context("--with")?,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let summary = evaluate::summarise_with(&spec_file, &folder, &ledger, &outside)?;
    report::write(&folder, &summary)?;
    args.outcome.print(&summary, folder.root())?;
    Ok(ExitCode::SUCCESS)
}
