//! `anofpdm status RUN`: where a run stands, read from its journal, and what its coordinator says of itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::work::Stage;
use clap::Args;
use serde::Serialize;

use super::live_view::{self, printable_text};
use super::print_json;
use crate::drive::control;
use crate::drive::live::{Outcome, Snapshot};
use crate::ledger::journal::read_ledger;
use crate::run_folder::RunFolder;

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
    /// Operators want it paused.
    paused: bool,
    profile: Option<String>,
    /// What calibration and scoring compute in, once a run has chosen it.
    precision: Option<&'static str>,
    stages: Vec<StageStatus>,
    duplicates: usize,
    conflicts: usize,
    report: bool,
    /// What the coordinator at work says, or said last; null before the first.
    live: Option<Snapshot>,
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
    let live = match Snapshot::read(&folder) {
        Ok(live) => live,
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    };
    let status = Status {
        run: folder.spec()?.name,
        running: folder.is_locked()?,
        paused: control::is_paused(&folder)?,
        profile: ledger.profile.as_ref().map(ToString::to_string),
        precision: ledger
            .precision
            .as_ref()
            .map(|chosen| chosen.precision.name()),
        stages,
        duplicates: ledger.duplicates.len(),
        conflicts: ledger.conflicts.len(),
        report: folder.report().join("summary.json").is_file(),
        live,
    };
    if args.json {
        print_json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} is {}", status.run, status.in_words());
    if status.paused && !status.running {
        println!("paused     the next run starts paused; `anofpdm resume` ends that");
    }
    if let Some(profile) = &status.profile {
        println!("profile    {profile}");
    }
    if let Some(precision) = status.precision {
        println!("precision  {precision}");
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
    let lines = match &status.live {
        Some(live) if status.running => live_view::lines(live),
        Some(live) => [vec![status.verdicts()], live_view::dead_lines(live)].concat(),
        None => vec![status.verdicts()],
    };
    for line in lines {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Status {
    fn in_words(&self) -> String {
        let ended = self.live.as_ref().and_then(|live| live.ended.as_ref());
        match (self.running, ended) {
            (true, _) if self.paused => "running, paused".to_owned(),
            (true, _) => "running".to_owned(),
            (false, Some(ended)) if ended.outcome == Outcome::Failed => format!(
                "stopped: {}; once that is mended, run it again to go on",
                printable_text(&ended.message)
            ),
            // These messages say how to go on.
            (false, Some(ended)) if ended.outcome != Outcome::Finished => {
                format!("stopped: {}", printable_text(&ended.message))
            }
            (false, _) if self.report => "finished".to_owned(),
            (false, _) => "stopped; run it again to go on".to_owned(),
        }
    }

    fn verdicts(&self) -> String {
        format!(
            "verdicts   {} duplicates, {} conflicts",
            self.duplicates, self.conflicts
        )
    }
}
