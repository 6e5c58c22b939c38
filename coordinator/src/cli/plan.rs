//! `anofpdm plan SPEC`: what a run will do and cost.

use std::process::ExitCode;

use anofpdm_common::spec::RunSpec;
use anyhow::Context;
use clap::Args;

use super::outcome::columns;
use super::print_json;
use super::run::gpus;
use super::spec_args::SpecArgs;
use crate::plan::forecast;
use crate::preflight;
use crate::readable::{Bytes, Count, labelled};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm plan examples/brats13-small.toml --json")]
pub struct PlanArgs {
    #[command(flatten)]
    spec_file: SpecArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the estimate; starts nothing. What a run would refuse is refused.
pub fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (spec_file, dir) = args.spec_file.open()?;
    let dataset = spec_file.dataset()?;
    let begun = spec_file.begun(Some(&dir), &dataset);
    let mut estimate = spec_file
        .estimate(&dataset, Some(&dir))
        .context("cannot estimate the run")?;
    estimate
        .warnings
        .extend(preflight::check(&spec_file, &dataset, &begun.weights())?);
    estimate.warnings.extend(no_gpu(&spec_file.spec));
    if args.json {
        return print_json(&estimate);
    }
    if let Some(warning) = &begun.warning {
        for line in labelled("warning", warning, columns()) {
            println!("{line}");
        }
    }
    let evaluations = &estimate.network_evaluations;
    let mut lines = forecast::benchmark(&spec_file, &dataset, &estimate, &dir);
    lines.extend(forecast::work(&estimate));
    let time = lines.pop();
    lines.push((
        "",
        format!(
            "{} more of padding; {} without sharing trajectories ({:.1} x)",
            Count(evaluations.padding),
            Count(evaluations.without_sharing),
            ratio(evaluations.without_sharing, evaluations.total)
        ),
    ));
    if estimate.precision_trial > 0 {
        lines.push((
            "",
            format!(
                "{} more at most, on a GPU alone, to choose the number format (precision = \"auto\")",
                Count(estimate.precision_trial)
            ),
        ));
    }
    lines.extend(time);
    lines.push(("shards", Count(estimate.shards).to_string()));
    lines.push(("disk", format!("about {}", Bytes(estimate.disk_bytes))));
    lines.push((
        "memory",
        format!("about {} a worker, scoring", Bytes(estimate.memory_bytes)),
    ));
    for (label, text) in lines {
        for line in labelled(label, &text, columns()) {
            println!("{line}");
        }
    }
    let said = |warning: &&String| begun.warning.as_ref() != Some(*warning);
    for warning in estimate.warnings.iter().filter(said) {
        for line in labelled("warning", warning, columns()) {
            println!("{line}");
        }
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
