//! `anofpdm plan SPEC`: what a run will do and cost.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::bench_args::BenchArgs;
use super::outcome::columns;
use super::print_json;
use crate::plan::forecast;
use crate::readable::{Bytes, Count, labelled};

/// Arguments of `anofpdm plan`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm plan examples/brats13-small.toml --json")]
pub struct PlanArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the estimate; starts nothing.
///
/// # Errors
/// A bad spec, an unreadable store, an empty split.
pub fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (bench, dir) = args.bench.open()?;
    let dataset = bench.dataset()?;
    let estimate = bench
        .estimate(&dataset, Some(&dir))
        .context("cannot estimate the run")?;
    if args.json {
        print_json(&estimate)?;
        return Ok(ExitCode::SUCCESS);
    }
    let evaluations = &estimate.network_evaluations;
    let mut lines = forecast::benchmark(&bench, &dataset, &estimate, &dir);
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
                "{} more at most to choose the number format (precision = \"auto\")",
                Count(estimate.precision_trial)
            ),
        ));
    }
    lines.extend(time);
    lines.push(("shards", Count(estimate.shards).to_string()));
    lines.push(("disk", format!("{} at most", Bytes(estimate.disk_bytes))));
    lines.push((
        "memory",
        format!("about {} a worker, scoring", Bytes(estimate.memory_bytes)),
    ));
    for (label, text) in lines {
        for line in labelled(label, &text, columns()) {
            println!("{line}");
        }
    }
    for warning in &estimate.warnings {
        for line in labelled("warning", warning, columns()) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / (b.max(1)) as f64
}
