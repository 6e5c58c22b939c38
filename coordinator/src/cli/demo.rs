//! `anofpdm demo`: the whole pipeline on a phantom, on this machine, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anofpdm_common::spec::RunSpec;
use anyhow::Context;
use clap::Args;

use super::outcome::OutcomeArgs;
use super::run::HowArgs;
use crate::ingest::layouts::LayoutName;
use crate::ingest::phantom::{self, Kind, generate};
use crate::ingest::preprocess::{self, Outcome, PreprocessError, Progress, preprocess};
use crate::readable;
use crate::run::signals::Interrupt;
use crate::spec_file::SpecFile;

/// The spec of the demo, also there to be read and changed.
const SPEC: &str = include_str!("../../../examples/demo.toml");

/// Subjects of the phantom and voxels along a side.
const SUBJECTS: usize = 40;
const GRID: usize = 64;
/// Side of the slices, pixels.
const SIZE: usize = 32;
const MODALITIES: [&str; 2] = ["flair", "t2"];
const SPLIT: &str = "70/15/15";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm demo --dir runs/demo\n\nRun it again to go on after an interruption."
)]
pub struct DemoArgs {
    /// Folder of the phantom, its store and the run
    #[arg(long, default_value = "runs/demo")]
    dir: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let interrupt = Interrupt::listen()?.within(args.how.time_limit());
    let volumes = args.dir.join("phantom");
    let request = phantom::PhantomRequest {
        kind: Kind::Brats,
        subjects: SUBJECTS,
        seed: 0,
        grid: GRID,
    };
    let made = generate(&request, &volumes, &|_| {}).context("phantom")?;
    let [x, y, z] = made.shape;
    tracing::info!(
        "phantom: {SUBJECTS} subjects of {x} x {y} x {z}, {} of them without lesion",
        made.healthy_subjects
    );
    let store = preprocess_phantom(&volumes, &args.dir.join("store"), &interrupt)?;
    let store = std::path::absolute(store)?;

    let mut spec = RunSpec::parse(SPEC)?;
    spec.data.store = store.into();
    let spec_file = SpecFile::of(spec, args.dir.join("demo.toml"));
    let options = args.how.options(&args.dir, &spec_file.spec)?;
    let Some(summary) = crate::run::run(&spec_file, &options, &interrupt)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if args.outcome.print(&summary, &args.dir)? {
        let took = started.elapsed().as_secs_f64();
        println!("time         {}", readable::time(took));
    }
    Ok(ExitCode::SUCCESS)
}

fn preprocess_phantom(
    volumes: &Path,
    store: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<PathBuf> {
    let request = preprocess::Request {
        input: volumes.to_path_buf(),
        store: store.to_path_buf(),
        layout: LayoutName::Brats,
        modalities: Some(MODALITIES.map(str::to_owned).to_vec()),
        size: SIZE,
        labels: None,
        split: SPLIT.to_owned(),
        seed: 0,
        preview: true,
        threads: None,
    };
    let report = match preprocess(&request, &Silent(interrupt)) {
        Err(PreprocessError::Stopped) => {
            interrupt.check()?;
            return Err(PreprocessError::Stopped).context("preprocess");
        }
        done => done.context("preprocess")?,
    };
    let manifest = report.store.manifest();
    let slices: usize = manifest.subjects.iter().map(|s| s.slices).sum();
    let lesions: usize = manifest.subjects.iter().map(|s| s.lesion_slices).sum();
    tracing::info!("preprocess: {slices} slices of {SIZE} x {SIZE}, {lesions} with lesion");
    Ok(report.store.root().to_path_buf())
}

/// A phantom is preprocessed in a moment: nothing to watch, but a signal counts.
struct Silent<'a>(&'a Interrupt);

impl Progress for Silent<'_> {
    fn begin(&self, _subjects: usize) {}
    fn done(&self, _id: &str, _outcome: &Outcome) {}
    fn stopped(&self) -> bool {
        self.0.asked()
    }
}
