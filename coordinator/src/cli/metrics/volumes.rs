//! `anofpdm metrics --pred DIR --truth DIR`: masks of volumes.

use std::path::PathBuf;
use std::process::ExitCode;

use anofpdm_common::store::slices::SliceStore;
use anyhow::{Context, bail};
use clap::Args;
use rayon::prelude::*;

use super::super::print_json;
use crate::volume_masks::compare::Comparing;
use crate::volume_masks::row::{OutsideRow, name_fault};
use crate::volume_masks::table::table;
use crate::volume_masks::{ComparedVolume, VolumeEvaluation, pairs, with_maps};

/// Names that a note lists at most.
const LISTED: usize = 5;

#[derive(Debug, Args)]
pub(super) struct VolumeArgs {
    /// Predicted masks of volumes: a folder of CASE.nii.gz
    #[arg(long, value_name = "DIR", requires = "truth", conflicts_with_all = ["masks", "labels", "scores", "batch"])]
    pred: Option<PathBuf>,
    /// Their truth: a folder of CASE.nii.gz, or of folders that hold them
    #[arg(long, value_name = "DIR", requires = "pred")]
    truth: Option<PathBuf>,
    /// What stands behind CASE in the names of predictions (of `predict`: _mask)
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        requires = "pred",
        hide_default_value = true
    )]
    pred_suffix: String,
    /// The same of truths (of BraTS: _seg)
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        requires = "pred",
        hide_default_value = true
    )]
    truth_suffix: String,
    /// Maps that the masks were made of, higher where more anomalous, on one scale for all cases (CASE.nii.gz); AUPRC and
    /// AUROC are of the pixels of the store, as those of a run are
    #[arg(long, value_name = "DIR", requires_all = ["pred", "store"])]
    maps: Option<PathBuf>,
    /// What stands behind CASE in the names of maps (of `predict`: _map)
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        requires = "maps",
        hide_default_value = true
    )]
    maps_suffix: String,
    /// Count the slices that this slice store has of each case, and its patients [default: all slices, patients by name]
    #[arg(long, value_name = "STORE", requires = "pred")]
    store: Option<PathBuf>,
    /// Components of a volume of fewer voxels are no lesions
    #[arg(long, value_name = "VOXELS", default_value_t = 1, requires = "pred")]
    min_lesion: usize,
    /// Write the counts for `anofpdm report --with FILE`
    #[arg(long, value_name = "FILE", requires_all = ["pred", "name"])]
    row: Option<PathBuf>,
    /// Name of the row in tables
    #[arg(long, value_name = "NAME", requires = "row")]
    name: Option<String>,
    /// Say that the program learned or chose with pixel labels: rows with and without are marked apart
    #[arg(long, requires = "row")]
    pixel_labels: bool,
}

impl VolumeArgs {
    /// The two folders, where volumes were asked for.
    pub(super) fn folders(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.pred.as_ref().zip(self.truth.as_ref())
    }
}

/// Compares the folders and prints the numbers.
pub(super) fn run(
    args: &VolumeArgs,
    (pred, truth): (&PathBuf, &PathBuf),
    component_area: u32,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if let Some(fault) = args.name.as_deref().and_then(name_fault) {
        bail!("--name: {fault}");
    }
    let store = args.store.as_ref().map(SliceStore::open).transpose();
    let store = store.context("--store")?;
    let (pairs, over) = pairs((pred, &args.pred_suffix), (truth, &args.truth_suffix))?;
    if !over.is_empty() {
        let names: Vec<&str> = over.iter().take(LISTED).map(String::as_str).collect();
        let more = over.len() - names.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        tracing::warn!(
            "predictions without a truth do not count: {}{more}",
            names.join(", ")
        );
    }
    let pairs = match &args.maps {
        Some(maps) => with_maps(pairs, (maps, &args.maps_suffix))?,
        None => pairs,
    };
    let comparing = Comparing {
        component_area,
        minimum_lesion: args.min_lesion,
        store: store.as_ref(),
    };
    let volumes = pairs
        .par_iter()
        .map(|pair| comparing.compare(pair))
        .collect::<Result<Vec<ComparedVolume>, _>>()?;
    if volumes.iter().all(|one| one.volume.overlap.truth == 0) {
        bail!(
            "--truth: no voxel of any case is above 0: there is nothing to find, and DICE would say nothing; is {} the \
             folder of the masks?",
            truth.display()
        );
    }
    let evaluation = VolumeEvaluation::of(&volumes);
    if let (Some(path), Some(name)) = (&args.row, &args.name) {
        let digest = store.as_ref().map(|store| store.manifest().digest);
        let row = OutsideRow {
            pixel_labels: args.pixel_labels,
            ..OutsideRow::new(name, digest, volumes)
        };
        row.write(path).context("--row")?;
    }
    if json {
        print_json(&evaluation)?;
    } else {
        print!("{}", table(&evaluation));
    }
    Ok(ExitCode::SUCCESS)
}
