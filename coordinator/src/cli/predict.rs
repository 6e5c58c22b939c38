//! `anofpdm predict`: maps and masks of volumes by a run's method. Makes slices of NIfTI files where asked to, and starts the
//! worker, which computes.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anofpdm_common::plan::Stage;
use anofpdm_common::store::slices::SliceStore;
use anyhow::{Context, bail};
use clap::Args;

use crate::ingest::layouts::modality_name;
use crate::ingest::unlabelled::{conversion_of, in_order, store_of};
use crate::ledger::journal::read_ledger;
use crate::run::workers::supervisor::{SupervisorError, worker_program};
use crate::run_folder::RunFolder;

/// Name of the subject of `--input` unless told.
const SUBJECT: &str = "subject";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anofpdm predict --run runs/mine --store store --out predicted
  anofpdm predict --run runs/mine --out predicted --subject P07 \\
      --input flair=P07_flair.nii.gz --input t1ce=P07_t1ce.nii.gz

Writes SUBJECT_map.nii.gz (the filtered map), SUBJECT_mask.nii.gz and SUBJECT.json (each slice: cosine, t_e, Q*, what it \
is called) on the grid of the subject's first file: `anofpdm-worker predict --help`. No label is read.")]
pub struct PredictArgs {
    /// A run that has scored: a folder, or a name under runs/
    #[arg(long)]
    run: PathBuf,
    /// Slices, preprocessed as those of the run were
    #[arg(
        long,
        value_name = "STORE",
        required_unless_present = "input",
        conflicts_with = "input"
    )]
    store: Option<PathBuf>,
    /// A file of a volume, by modality; one for each of the run's
    #[arg(long, value_name = "MODALITY=FILE", value_parser = input)]
    input: Vec<(String, PathBuf)>,
    /// Folder of what is written; made where absent
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these subjects of the store; with --input the name of the volume [default: all; subject]
    #[arg(long, value_name = "ID")]
    subject: Vec<String>,
    /// A method that the run scored [default: anofpdm-ddim, else its first]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// A strength that the run scored [default: the only one, or that which calibration chose]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Seed of the noise [default: the first of the run's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Empty the mask on slices that are called healthy
    #[arg(long)]
    empty_healthy: bool,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((modality, file)) if !modality.is_empty() && !file.is_empty() => {
            Ok((modality_name(modality), PathBuf::from(file)))
        }
        _ => Err("it must be MODALITY=FILE, such as flair=P07_flair.nii.gz".to_owned()),
    }
}

/// Makes the slices, starts the worker and waits for it.
pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let ledger = read_ledger(&folder)?;
    let Some((plan, _)) = ledger.planned.get(&Stage::Score) else {
        bail!(
            "{} has not begun to score: what its method decides by is not there yet; finish the run first",
            folder.root().display()
        );
    };
    let mut command = Command::new(worker_program());
    command
        .args([
            "predict",
            "--plan",
            &plan.to_string(),
            "--device",
            &args.device,
        ])
        .arg("--run")
        .arg(folder.root())
        .arg("--out")
        .arg(&args.out);
    let made = match &args.store {
        Some(store) => {
            command.arg("--store").arg(store);
            for subject in &args.subject {
                command.args(["--subject", subject]);
            }
            None
        }
        None => {
            let made = slices(args, &folder)?;
            command.arg("--store").arg(&made.0);
            Some(made)
        }
    };
    for (option, value) in [
        ("--method", args.method.clone()),
        ("--guidance", args.guidance.map(|w| w.to_string())),
        ("--seed", args.seed.map(|seed| seed.to_string())),
    ] {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    if args.empty_healthy {
        command.arg("--empty-healthy");
    }
    let status =
        command
            .stdin(Stdio::null())
            .status()
            .map_err(|source| SupervisorError::Start {
                program: worker_program(),
                source,
            })?;
    drop(made);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(super::failure::FAILURE)))
}

/// A folder that goes when it is dropped.
struct Slices(PathBuf);

impl Drop for Slices {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{}: {error}; it can be deleted", self.0.display());
        }
    }
}

/// The slices of the files, made as those of the run.
fn slices(args: &PredictArgs, folder: &RunFolder) -> anyhow::Result<Slices> {
    let id = match &args.subject[..] {
        [] => SUBJECT,
        [id] => id,
        _ => bail!("--input is one volume: give one --subject at most"),
    };
    let store = folder.spec()?.data.store;
    let own = SliceStore::at(&store).with_context(|| {
        format!("the slices of the run, {store}, say how others are to be made; they must be there")
    })?;
    let conversion = conversion_of(&own)?;
    let files = in_order(&args.input, &conversion.modalities).context("--input")?;
    std::fs::create_dir_all(&args.out).context("--out")?;
    let made = Slices(args.out.join(format!(".slices-{}", std::process::id())));
    for notice in store_of(&conversion, id, files, &made.0).context("--input")? {
        tracing::warn!("{notice}");
    }
    Ok(made)
}
