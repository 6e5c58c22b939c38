//! `anofpdm-worker predict`: maps and masks of volumes, from a run's networks and thresholds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::NumericProfile;
use anofpdm_common::store::durable;
use anofpdm_common::store::slices::{SliceStore, SubjectImages};
use anyhow::{Context, Result};
use clap::Args;

use crate::backend::Backend;
use crate::backend::libtorch::LibtorchBackend;
use crate::predict::PredictError;
use crate::predict::finished_run::{ChosenMethod, FinishedRun};
use crate::predict::method::{LoadedMethod, PredictedSlice};
use crate::predict::result::{FORMAT, SubjectResult};
use crate::predict::volume_file;
use crate::torch::{self, DeviceSpec};
use crate::usage::UsageError;

const EXAMPLE: &str = "Examples:
  anofpdm-worker predict --run runs/mine --store store --out predicted
  anofpdm-worker predict --run runs/mine --store store --subject P07 \\
    --method anofpdm-ddim --seed 1 --out predicted

From NIfTI files: anofpdm predict --run RUN --input FLAIR.nii.gz …, which makes the store.";

/// Anomaly maps and masks of the subjects of a slice store, as NIfTI on the grid of their files.
///
/// Takes networks, M_max and thresholds from the run, and no label from the store. Writes
/// SUBJECT_map.nii.gz (f32: the filtered map), SUBJECT_mask.nii.gz (u8) and SUBJECT.json (each slice:
/// cosine, t_e, Q*, what it is called). Shape, affine, codes of sform and qform, spacing and units are
/// those of the subject's first file. From the slices' pixels the map is interpolated bilinearly; a voxel
/// of the mask is that of the nearest pixel, so the mask is not the map above a threshold where slices
/// were resized. Slices that the store does not have are 0.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct PredictArgs {
    /// A run that has scored: a folder, or a name under runs/
    #[arg(long, value_name = "RUN")]
    pub run: PathBuf,
    /// Slices, preprocessed as those of the run were: modalities in its order, its size
    #[arg(long, value_name = "STORE")]
    pub store: PathBuf,
    /// Folder of what is written; made where absent
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only these subjects (may be given several times) [default: all]
    #[arg(long, value_name = "ID")]
    pub subject: Vec<String>,
    /// A method that the run scored [default: anofpdm-ddim, else its first]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// A strength that the run scored [default: the only one, or that which calibration chose]
    #[arg(long, value_name = "W")]
    pub guidance: Option<f64>,
    /// Seed of the noise [default: the first of the run's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Empty the mask on slices that are called healthy (the mixed set-up of the tables)
    #[arg(long)]
    pub empty_healthy: bool,
    /// Digest of the run's plan of scoring, where its artifacts hold several or lie in an object store
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<Digest>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Threads inside one operation (CPU) [default: as the run]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

/// Predicts and writes.
pub fn run(args: &PredictArgs) -> Result<()> {
    let device = args.device.open()?;
    let run = FinishedRun::open(&args.run, args.plan)?;
    let threads = args.threads.unwrap_or(run.plan.profile.threads);
    torch::memory::keep();
    torch::set_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .build_global()?;
    let store = SliceStore::open(&args.store).context("--store")?;
    run.check_fit(&store)?;
    let subjects = subjects(&store, &args.subject)?;
    let chosen = run.method(args.method.as_deref(), args.guidance)?;
    let seed = args
        .seed
        .or_else(|| run.spec.score.seeds.first().copied())
        .unwrap_or(0);
    durable::create_dir(&args.out).context("--out")?;
    let mut backend = LibtorchBackend::new(device);
    let profile = NumericProfile {
        device: backend.device_class(),
        libtorch: torch::libtorch_version(),
        cpu_capability: torch::cpu_capability().to_owned(),
        threads,
    };
    let work = Work {
        args,
        run: &run,
        chosen: &chosen,
        seed,
        same_profile: profile == run.plan.profile,
    };
    if !work.same_profile {
        tracing::warn!(
            "the run was computed on {}, this is {profile}: last bits may differ",
            run.plan.profile
        );
    }
    let mut method = LoadedMethod::load(&run, &chosen, seed, &mut backend)?;
    for id in subjects {
        let subject = store.images().subject(&id)?;
        let total = subject.slices();
        let done = method.subject(&store, &subject, &mut |done| {
            tracing::info!(subject = id, "{done} of {total} slices");
        })?;
        work.write(&subject, done)?;
        println!("{id}: {total} slices");
    }
    Ok(())
}

/// The subjects asked for, each once, in the order of the store.
fn subjects(store: &SliceStore, asked: &[String]) -> Result<Vec<String>> {
    let all = store.manifest().subjects.iter().map(|one| one.id.clone());
    if asked.is_empty() {
        return Ok(all.collect());
    }
    let mut wanted: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
    let found: Vec<String> = all.filter(|id| wanted.remove(id.as_str())).collect();
    match wanted.first() {
        None => Ok(found),
        Some(unknown) => {
            let some: Vec<&str> = store
                .manifest()
                .subjects
                .iter()
                .take(5)
                .map(|one| one.id.as_str())
                .collect();
            Err(UsageError::new(format!(
                "--subject {unknown}: the store has none of that name; it has {} and others",
                some.join(", ")
            ))
            .into())
        }
    }
}

/// What is written of each subject.
struct Work<'a> {
    args: &'a PredictArgs,
    run: &'a FinishedRun,
    chosen: &'a ChosenMethod,
    seed: u64,
    same_profile: bool,
}

impl Work<'_> {
    fn write(&self, subject: &SubjectImages, slices: Vec<PredictedSlice>) -> Result<()> {
        let (mut maps, mut masks, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for slice in slices {
            let place = slice.result.slice;
            let mut mask = slice.mask;
            if self.args.empty_healthy && !slice.result.unhealthy {
                mask.fill(0);
            }
            maps.push((place, slice.map));
            masks.push((place, mask));
            results.push(slice.result);
        }
        let source = subject.source();
        let fault = |source| PredictError::Source {
            subject: subject.id.clone(),
            source,
        };
        let map = source.map_on_source(subject.size, &maps).map_err(fault)?;
        let mask = source.mask_on_source(subject.size, &masks).map_err(fault)?;
        let path = |end: &str| self.args.out.join(format!("{}{end}", subject.id));
        volume_file::write(&path("_map.nii.gz"), source, map)?;
        volume_file::write(&path("_mask.nii.gz"), source, mask)?;
        let plan = &self.run.plan;
        let result = SubjectResult {
            format: FORMAT,
            subject: subject.id.clone(),
            run: self.run.spec.name.clone(),
            method: self.chosen.method.name().to_owned(),
            guidance: self.chosen.cell.guidance,
            seed: self.seed,
            semantics: plan.semantics.name().to_owned(),
            precision: plan.precision.name().to_owned(),
            same_profile: self.same_profile,
            component_area: plan.component_area,
            map_interpolation: "bilinear".to_owned(),
            mask_interpolation: "nearest".to_owned(),
            healthy_emptied: self.args.empty_healthy,
            slices: results,
        };
        let json = serde_json::to_vec_pretty(&result)?;
        durable::write(&path(".json"), &json)?;
        Ok(())
    }
}
