//! `anofpdm preprocess`: NIfTI volumes to a slice store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use anofpdm_common::store::slices::{Split, StoreManifest};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::UsageError;
use crate::ingest::layouts::{LayoutName, modality_name};
use crate::ingest::preprocess::{Outcome, PreprocessError, Progress, Report, Request, preprocess};
use crate::run::signals::Interrupt;
use crate::run::signals::Interrupted;
use crate::screen;

/// Skipped subjects that are listed.
const SKIPPED_SHOWN: usize = 20;

/// Notes that are listed.
const NOTES_SHOWN: usize = 20;

/// NIfTI volumes to a slice store; run again to resume
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm preprocess data/BraTS2021 stores/brats21 --layout brats --preview \\\n      --modalities flair,t1,t1ce,t2\n\nExit code 1 when subjects were skipped (the store is written all the same), unless --allow-skipped."
)]
pub struct PreprocessArgs {
    /// Folder of the data set
    input: PathBuf,
    /// Folder of the store: new, empty, or of an earlier call
    store: PathBuf,
    /// How the data set keeps its files
    #[arg(long, value_enum)]
    layout: LayoutName,
    /// Modalities in channel order; t2f, t1n, t1c and t2w are flair, t1, t1ce and t2 [default: those that most subjects have]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    modalities: Option<Vec<String>>,
    /// Side of the stored slices in pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(8..=1024))]
    size: u16,
    /// CSV subject,slice,label with image-level labels for subjects without a mask
    #[arg(long, value_name = "CSV")]
    labels: Option<PathBuf>,
    /// Patients for training, validation and test: percentages, a JSON or CSV file of subjects or patients, or 'reference'
    #[arg(long, default_value = "75/5/20", value_name = "A/B/C|FILE|reference")]
    split: String,
    /// Seed of a split by percentages
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write STORE/preview.png, a contact sheet with lesions outlined
    #[arg(long)]
    preview: bool,
    /// Exit with 0 even when subjects were skipped
    #[arg(long)]
    allow_skipped: bool,
    /// Subjects converted at once, each some 0.4 GB for BraTS [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PreprocessArgs) -> anyhow::Result<ExitCode> {
    let modalities = args
        .modalities
        .as_deref()
        .map(parse_modalities)
        .transpose()?;
    let request = Request {
        input: args.input.clone(),
        store: args.store.clone(),
        layout: args.layout,
        modalities,
        size: usize::from(args.size),
        labels: args.labels.clone(),
        split: args.split.clone(),
        seed: args.seed,
        preview: args.preview,
        threads: args.threads.map(usize::from),
    };
    let console = Console {
        bar: OnceLock::new(),
        interrupt: Interrupt::listen()?,
    };
    let report = preprocess(&request, &console).map_err(classify)?;
    let manifest = report.store.manifest();
    if args.json {
        super::print_json(&as_json(&report))?;
    } else {
        print_text(&report, manifest);
    }
    let complete = manifest.skipped.is_empty() || args.allow_skipped;
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What was typed wrong and what was stopped are told apart from what went wrong: their exit codes differ.
fn classify(error: PreprocessError) -> anyhow::Error {
    match error {
        PreprocessError::Split(_) | PreprocessError::Labels(_) => {
            UsageError(error.to_string()).into()
        }
        PreprocessError::Stopped => Interrupted::Signal.into(),
        error => error.into(),
    }
}

fn parse_modalities(names: &[String]) -> Result<Vec<String>, UsageError> {
    let mut modalities: Vec<String> = Vec::new();
    for name in names.iter().map(|name| modality_name(name.trim())) {
        if name.is_empty() {
            return Err(UsageError("--modalities: an empty name".to_owned()));
        }
        if modalities.contains(&name) {
            return Err(UsageError(format!("--modalities: '{name}' twice")));
        }
        modalities.push(name);
    }
    Ok(modalities)
}

fn as_json(report: &Report) -> serde_json::Value {
    let manifest = report.store.manifest();
    let total = |count: fn(&anofpdm_common::store::slices::SubjectRecord) -> usize| {
        manifest.subjects.iter().map(count).sum::<usize>()
    };
    serde_json::json!({
        "store": report.store.root(),
        "digest": manifest.digest,
        "modalities": manifest.modalities,
        "size": manifest.size,
        "slices": total(|subject| subject.slices),
        "lesion_slices": total(|subject| subject.lesion_slices),
        "subjects": manifest.subjects,
        "skipped": manifest.skipped,
        "converted": report.converted,
        "kept": report.kept,
        "notes": report.notes,
        "preview": report.preview,
    })
}

fn print_text(report: &Report, manifest: &StoreManifest) {
    println!(
        "{}: {} at {} x {}",
        report.store.root().display(),
        manifest.modalities.join(","),
        manifest.size,
        manifest.size
    );
    for split in Split::ALL {
        let subjects: Vec<_> = manifest
            .subjects
            .iter()
            .filter(|subject| subject.split == split)
            .collect();
        let patients: BTreeSet<&str> = subjects.iter().map(|subject| subject.patient()).collect();
        let of_patients = if patients.len() < subjects.len() {
            format!(" of {} patients", patients.len())
        } else {
            String::new()
        };
        println!(
            "  {:<10} {:>5} subjects{of_patients} {:>7} slices {:>7} with lesion",
            split.to_string(),
            subjects.len(),
            subjects.iter().map(|subject| subject.slices).sum::<usize>(),
            subjects
                .iter()
                .map(|subject| subject.lesion_slices)
                .sum::<usize>(),
        );
    }
    println!(
        "  converted {}, kept {}, skipped {}",
        report.converted,
        report.kept,
        manifest.skipped.len()
    );
    for subject in manifest.skipped.iter().take(SKIPPED_SHOWN) {
        println!("  skipped {}: {}", subject.id, subject.reason);
    }
    let more = manifest.skipped.len().saturating_sub(SKIPPED_SHOWN);
    if more > 0 {
        println!("  and {more} more skipped; manifest.json of the store names them all");
    }
    for note in report.notes.iter().take(NOTES_SHOWN) {
        println!("  note: {note}");
    }
    let more = report.notes.len().saturating_sub(NOTES_SHOWN);
    if more > 0 {
        println!("  and {more} more notes; --json gives them all");
    }
    if let Some(path) = &report.preview {
        println!("  contact sheet: {}", path.display());
    }
}

/// A bar on a terminal, a line a subject elsewhere.
struct Console {
    bar: OnceLock<ProgressBar>,
    interrupt: Interrupt,
}

impl Progress for Console {
    fn begin(&self, subjects: usize) {
        let bar = self
            .bar
            .get_or_init(|| screen::show(ProgressBar::new(subjects as u64)));
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} subjects, {eta} left {wide_msg}")
        {
            bar.set_style(style);
        }
    }

    fn done(&self, id: &str, outcome: &Outcome) {
        let line = match outcome {
            Outcome::Converted(subject) => format!(
                "{id}: {} slices, {} with lesion",
                subject.slices, subject.lesion_slices
            ),
            Outcome::Kept(subject) => format!(
                "{id}: kept, {} slices, {} with lesion",
                subject.slices, subject.lesion_slices
            ),
            Outcome::Skipped(reason) => format!("{id}: skipped: {reason}"),
        };
        let Some(bar) = self.bar.get() else { return };
        bar.inc(1);
        if bar.is_hidden() {
            eprintln!("{}/{} {line}", bar.position(), bar.length().unwrap_or(0));
        } else {
            bar.set_message(line);
        }
    }

    fn stopped(&self) -> bool {
        self.interrupt.asked()
    }
}
