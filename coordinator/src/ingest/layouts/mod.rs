//! Where a data set keeps its files. A new layout is one file here and one line in [`LayoutName`].

mod advice;
mod atlas;
mod brats;
mod found;
mod generic;
mod listing;
mod nnunet;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::volume::Orientation;

pub use advice::advice;
pub use found::{Found, SubjectFiles, Unused, printable};
pub use words::modality_name;

/// The layouts by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// SUBJECT/SUBJECT_{flair,t1,t1ce,t2,seg}.nii.gz, also in HGG and LGG, and the names since 2023
    Brats,
    /// SUBJECT/…_T1w.nii.gz and …_mask.nii.gz or …_label-lesion_roi.nii.gz, at any depth
    Atlas,
    /// SUBJECT_MODALITY.nii[.gz] side by side, or a folder for each subject, or nnU-Net's folders
    Generic,
}

impl LayoutName {
    pub const fn layout(self) -> &'static Layout {
        match self {
            Self::Brats => &brats::LAYOUT,
            Self::Atlas => &atlas::LAYOUT,
            Self::Generic => &generic::LAYOUT,
        }
    }
}

/// One way of keeping a data set.
#[derive(Debug)]
pub struct Layout {
    /// Where the axes of its stored slices run to: as in the published set.
    pub orientation: Orientation,
    /// Whether slices that are not square are padded, so that resizing keeps proportions.
    pub pads_to_square: bool,
    /// Modalities in the order of the published set; others follow by name.
    modality_order: &'static [&'static str],
    /// What is expected, for the message when nothing is found.
    pub expects: &'static str,
    /// Adds the files below a folder, which must be readable; one below it that cannot be listed is named in what was
    /// found.
    collect: fn(&Path, &mut Found) -> io::Result<()>,
    /// Adds the files of the folder of one subject, given by its name.
    collect_subject: fn(&str, &Path, &mut Found),
}

/// All subjects below `root`, by name.
pub fn discover(layout: &Layout, root: &Path) -> io::Result<Found> {
    let mut found = Found::new(root);
    (layout.collect)(root, &mut found)?;
    found.settle();
    Ok(found)
}

/// The modalities that most subjects have: what is converted when nobody says which.
pub fn common_modalities(
    layout: &Layout,
    subjects: &BTreeMap<String, SubjectFiles>,
) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for modality in subjects.values().flat_map(|files| files.images.keys()) {
        *counts.entry(modality).or_default() += 1;
    }
    // A folder without images is reported as skipped; it has no say in what the set holds.
    let with_images = subjects
        .values()
        .filter(|files| !files.images.is_empty())
        .count();
    let order = layout.modality_order;
    let rank = |modality: &str| {
        order
            .iter()
            .position(|known| *known == modality)
            .unwrap_or(order.len())
    };
    let mut common: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| 2 * count > with_images)
        .map(|(modality, _)| modality.to_owned())
        .collect();
    common.sort_by_key(|modality| rank(modality));
    common
}

#[cfg(test)]
mod tests;
