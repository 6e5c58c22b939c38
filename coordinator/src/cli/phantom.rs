//! `anofpdm phantom`: a synthetic data set as NIfTI.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ingest::phantom::{Kind, PhantomRequest, generate};
use crate::run::signals::file_size_limit_as_error;
use crate::screen;

/// Write a synthetic data set as NIfTI in the real folder layout
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm phantom phantoms/brats --kind brats --subjects 20 --grid 96\n  anofpdm preprocess phantoms/brats stores/phantom --layout brats"
)]
pub struct PhantomArgs {
    /// Folder to write into: new, empty, or of an interrupted call with the same options
    out: PathBuf,
    /// Which real data set to imitate
    #[arg(long, value_enum)]
    kind: Kind,
    /// Number of subjects
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subjects: u32,
    /// The same seed gives the same volumes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Voxels along the first two axes; the third has 155/240 as many
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u16).range(32..=480))]
    grid: u16,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PhantomArgs) -> anyhow::Result<ExitCode> {
    file_size_limit_as_error()?;
    let request = PhantomRequest {
        kind: args.kind,
        subjects: args.subjects as usize,
        seed: args.seed,
        grid: usize::from(args.grid),
    };
    let bar = screen::show(ProgressBar::new(u64::from(args.subjects)));
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} subjects, {eta} left {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let summary = generate(&request, &args.out, &|id| {
        bar.inc(1);
        if bar.is_hidden() {
            eprintln!("{}/{} {id}", bar.position(), args.subjects);
        }
    })?;
    bar.finish_and_clear();
    if args.json {
        let value = serde_json::json!({ "out": args.out, "request": request, "summary": summary });
        super::print_json(&value)?;
    } else {
        let [x, y, z] = summary.shape;
        println!(
            "{}: {} subjects of {x} x {y} x {z}, {} of them without lesion",
            args.out.display(),
            summary.subjects,
            summary.healthy_subjects
        );
    }
    Ok(ExitCode::SUCCESS)
}
