//! `anofpdm plan SPEC`: what a run will do and cost.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::spec::RunSpec;
use anyhow::Context;
use clap::Args;

use super::print_json;
use super::run::gpus;
use crate::bench_file::BenchFile;
use crate::preflight;

/// Arguments of `anofpdm plan`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm plan examples/brats13-small.toml --json")]
pub struct PlanArgs {
    /// The run spec (TOML)
    spec: PathBuf,
    /// Run folder, to count what is there already [default: runs/NAME]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the estimate; starts nothing. What a run would refuse is refused.
///
/// # Errors
/// A bad spec, a damaged store, an empty split, weights that do not fit.
pub fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let bench = BenchFile::read(&args.spec)?;
    let dataset = bench.dataset()?;
    let begun = bench.begun(args.dir.as_deref(), &dataset);
    let mut estimate = bench
        .estimate(&dataset, args.dir.as_deref())
        .context("cannot estimate the run")?;
    estimate
        .warnings
        .extend(preflight::check(&bench, &dataset, &begun.weights())?);
    estimate.warnings.extend(no_gpu(&bench.spec));
    if args.json {
        print_json(&estimate)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(warning) = &begun.warning {
        println!("warning      {warning}");
    }
    let evaluations = &estimate.network_evaluations;
    println!("run          {}", estimate.run);
    println!(
        "slices       {} train, {} validation, {} test",
        estimate.slices.train, estimate.slices.validation, estimate.slices.test
    );
    println!("cells        {} (method x guidance x seed)", estimate.cells);
    let median = bench.spec.score.median;
    println!(
        "masks        median of {median} x {median} pixels, components of at most {} pixels dropped",
        estimate.component_area
    );
    println!(
        "evaluations  {} = {} train + {} calibrate + {} score; {} more of padding",
        evaluations.total,
        evaluations.by_stage.train,
        evaluations.by_stage.calibrate,
        evaluations.by_stage.score,
        evaluations.padding
    );
    println!(
        "             {} without sharing trajectories ({:.1} x)",
        evaluations.without_sharing,
        ratio(evaluations.without_sharing, evaluations.total)
    );
    if estimate.precision_trial > 0 {
        println!(
            "             {} more at most, on a GPU alone, to choose the number format (precision = \"auto\")",
            estimate.precision_trial
        );
    }
    println!(
        "shards       {}; {} records are there already",
        estimate.shards, estimate.cached
    );
    println!(
        "disk         {:.1} MB at most",
        ratio(estimate.disk_bytes, 1_000_000)
    );
    println!(
        "memory       about {:.0} MB a worker, scoring",
        ratio(estimate.memory_bytes, 1_000_000)
    );
    match estimate.predicted_device_seconds {
        Some(seconds) => println!("time         about {seconds:.0} device seconds to go"),
        None => println!("time         known once a first shard of each kind is done"),
    }
    let said = |warning: &&String| begun.warning.as_ref() != Some(*warning);
    for warning in estimate.warnings.iter().filter(said) {
        println!("warning      {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A number format that no worker here could compute in; others may have what it takes.
fn no_gpu(spec: &RunSpec) -> Option<String> {
    let asked = spec.compute.precision;
    (asked.needs_gpu() && gpus().is_empty()).then(|| {
        format!(
            "[compute] precision: {} needs a GPU, and this machine has none: it takes workers elsewhere (run --queue redis://…)",
            asked.name()
        )
    })
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / (b.max(1)) as f64
}
