//! `anofpdm status RUN`: where a run stands, read from its journal, and what its coordinator says of itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::Stage;
use anofpdm_common::spec::RunSpec;
use clap::Args;
use serde::Serialize;

use super::live_view::{self, labelled, printable_text};
use super::operator;
use super::print_json;
use super::standing::{Standing, State};
use crate::ledger::Ledger;
use crate::ledger::journal::read_ledger;
use crate::readable::{Count, count, time};
use crate::report::training::saved_step;
use crate::run::operators::snapshot::Snapshot;
use crate::run_folder::RunFolder;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm status demo --json\n\nA shard is what one worker does at a time: a training, or some batches of slices. Its results are the records of\nthose batches, one for each method, strength and seed; a result that comes twice is compared bit by bit."
)]
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
    folder: PathBuf,
    state: State,
    running: bool,
    paused: bool,
    profile: Option<String>,
    /// What calibration and scoring compute in, once a run has chosen it.
    precision: Option<&'static str>,
    stages: Vec<StageStatus>,
    /// Trainings that a checkpoint would let go on.
    saved: Vec<Saved>,
    duplicates: usize,
    conflicts: usize,
    report: bool,
    fingerprint: Option<Digest>,
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

#[derive(Debug, Serialize)]
struct Saved {
    network: String,
    step: u64,
    steps: u64,
}

pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let ledger = read_ledger(&folder)?;
    let standing = Standing::of(&folder)?;
    let status = Status {
        stages: stages(&ledger),
        saved: saved(&folder, &folder.spec()?, &ledger),
        profile: ledger.profile.as_ref().map(ToString::to_string),
        precision: ledger
            .precision
            .as_ref()
            .map(|chosen| chosen.precision.name()),
        duplicates: ledger.duplicates.len(),
        conflicts: ledger.conflicts.len(),
        report: folder.report().join("summary.json").is_file(),
        fingerprint: standing.result.as_ref().map(|result| result.fingerprint),
        run: standing.run.clone(),
        folder: standing.folder.clone(),
        state: standing.state,
        running: standing.running(),
        paused: standing.paused,
        live: standing.live.clone(),
    };
    if args.json {
        return print_json(&status);
    }
    println!("{} is {}", standing.name(), in_words(&standing));
    for line in status.lines(&folder) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::cast_precision_loss)]
fn stages(ledger: &Ledger) -> Vec<StageStatus> {
    let stages = [Stage::Train, Stage::Calibrate, Stage::Score];
    let known = stages.into_iter().filter_map(|stage| {
        let (_, records) = ledger.planned.get(&stage)?;
        let cost = ledger.cost.get(&stage).copied().unwrap_or_default();
        Some(StageStatus {
            stage,
            records: *records,
            finished: ledger.finished.get(&stage).copied().unwrap_or(0),
            network_evaluations: cost.evaluations,
            device_seconds: cost.device_millis as f64 / 1e3,
        })
    });
    known.collect()
}

fn saved(folder: &RunFolder, spec: &RunSpec, ledger: &Ledger) -> Vec<Saved> {
    let trained = spec.model.iter().filter_map(|(network, model)| {
        let train = model.train.as_ref()?;
        if model.checkpoint.is_some() || ledger.weights.contains_key(network) {
            return None;
        }
        Some(Saved {
            network: network.clone(),
            step: saved_step(&folder.checkpoints().join(network))?,
            steps: train.steps,
        })
    });
    trained.collect()
}

fn in_words(standing: &Standing) -> String {
    let go_on = operator::go_on(standing);
    let said = standing.live.as_ref().and_then(|live| live.ended.as_ref());
    let said = said.map_or_else(String::new, |ended| printable_text(&ended.message));
    match standing.state {
        State::Running => "running".to_owned(),
        State::Paused => "running, paused".to_owned(),
        State::Finished => "finished".to_owned(),
        State::Partial => format!("stopped: {said}; `{go_on}` goes on"),
        State::Failed => format!("stopped: {said}; once that is mended, `{go_on}` goes on"),
        State::Interrupted => format!("stopped: it was interrupted; `{go_on}` goes on"),
        State::Cancelled => format!("stopped: it was cancelled; `{go_on}` goes on"),
        State::Killed => format!("stopped: its coordinator was killed; `{go_on}` goes on"),
        State::New => format!("not begun; `{go_on}` begins"),
    }
}

impl Status {
    fn lines(&self, folder: &RunFolder) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |label: &str, text: &str| lines.push(labelled(label, text));
        if let (Some(fingerprint), false) = (&self.fingerprint, self.running) {
            say("report", &folder.report().display().to_string());
            say("fingerprint", &fingerprint.to_string());
        }
        if self.paused && !self.running {
            say(
                "paused",
                "the next run starts paused; `anofpdm resume` ends that",
            );
        }
        if let Some(profile) = &self.profile {
            say("profile", profile);
        }
        if let Some(precision) = self.precision {
            say("precision", precision);
        }
        for stage in &self.stages {
            say(stage.stage.name(), &stage.in_words());
        }
        for Saved {
            network,
            step,
            steps,
        } in self.saved.iter().filter(|_| !self.running)
        {
            let (step, steps) = (Count(*step), Count(*steps));
            say(
                "saved",
                &format!("{network} at step {step} of {steps}: its training goes on from there"),
            );
        }
        match &self.live {
            Some(live) if self.running => lines.extend(live_view::lines(live)),
            live => {
                let repeats = live_view::repeats(self.duplicates as u64, self.conflicts as u64);
                say("checks", &repeats);
                lines.extend(live.iter().flat_map(live_view::dead_lines));
            }
        }
        lines
    }
}

impl StageStatus {
    fn in_words(&self) -> String {
        let noun = match self.stage {
            Stage::Train => "network",
            Stage::Calibrate | Stage::Score => "result",
        };
        let mut text = format!("{} of {}", Count(self.finished), count(self.records, noun));
        if self.network_evaluations > 0 {
            text.push_str(&format!(
                ", {}, {} of device time",
                count(self.network_evaluations, "network evaluation"),
                time(self.device_seconds)
            ));
        }
        text
    }
}
