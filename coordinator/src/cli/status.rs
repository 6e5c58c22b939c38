//! `anofpdm status RUN`: where a run stands, read from its journal.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::work::Stage;
use clap::Args;
use serde::Serialize;

use super::print_json;
use crate::ledger::journal::read_ledger;
use crate::run_folder::{RunFolder, RunFolderError};

/// Arguments of `anofpdm status`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm status demo --json")]
pub struct StatusArgs {
    /// A run: a folder, or a name under runs/
    run: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    run: String,
    running: bool,
    profile: Option<String>,
    stages: Vec<StageStatus>,
    duplicates: usize,
    conflicts: usize,
    report: bool,
}

#[derive(Debug, Serialize)]
struct StageStatus {
    stage: Stage,
    records: u64,
    finished: u64,
    network_evaluations: u64,
    device_seconds: f64,
}

/// Prints where the run stands.
///
/// # Errors
/// When there is no such run or its journal is broken.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let ledger = read_ledger(&folder)?;
    let stages = [Stage::Train, Stage::Calibrate, Stage::Score]
        .into_iter()
        .filter_map(|stage| {
            let (_, records) = ledger.planned.get(&stage)?;
            let cost = ledger.cost.get(&stage).copied().unwrap_or_default();
            #[allow(clippy::cast_precision_loss)]
            Some(StageStatus {
                stage,
                records: *records,
                finished: ledger.finished.get(&stage).copied().unwrap_or(0),
                network_evaluations: cost.evaluations,
                device_seconds: cost.device_millis as f64 / 1e3,
            })
        })
        .collect();
    let status = Status {
        run: folder.spec()?.name,
        running: matches!(folder.lock(), Err(RunFolderError::Locked(_))),
        profile: ledger.profile.as_ref().map(ToString::to_string),
        stages,
        duplicates: ledger.duplicates.len(),
        conflicts: ledger.conflicts.len(),
        report: folder.report().join("summary.json").is_file(),
    };
    if args.json {
        print_json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = match (status.running, status.report) {
        (true, _) => "running",
        (false, true) => "finished",
        (false, false) => "stopped; run it again to go on",
    };
    println!("{} is {state}", status.run);
    if let Some(profile) = &status.profile {
        println!("profile    {profile}");
    }
    for stage in &status.stages {
        println!(
            "{:<10} {} of {} records, {} evaluations, {:.0} device seconds",
            stage.stage.name(),
            stage.finished,
            stage.records,
            stage.network_evaluations,
            stage.device_seconds
        );
    }
    println!(
        "verdicts   {} duplicates, {} conflicts",
        status.duplicates, status.conflicts
    );
    Ok(ExitCode::SUCCESS)
}
