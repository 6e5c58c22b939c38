//! Any folder of named NIfTI: `SUBJECT_MODALITY.nii[.gz]` side by side, or a folder for each subject; and nnU-Net's.

use std::io;
use std::path::{Path, PathBuf};

use super::brats::behind;
use super::found::Found;
use super::listing::Listing;
use super::words::{Meaning, cut, meaning};
use super::{Layout, Orientation, nnunet};

pub(super) const LAYOUT: Layout = Layout {
    orientation: Orientation::Lps,
    pads_to_square: true,
    modality_order: &["flair", "t1", "t1ce", "t2"],
    expects: "SUBJECT_MODALITY.nii.gz or SUBJECT/SUBJECT_MODALITY.nii.gz, masks as MODALITY seg, mask, lesion or label; or \
         nnU-Net's imagesTr/SUBJECT_0000.nii.gz and labelsTr/SUBJECT.nii.gz",
    collect,
    collect_subject,
};

fn collect(root: &Path, found: &mut Found) -> io::Result<()> {
    if nnunet::is_there(root) {
        return nnunet::collect(root, found);
    }
    let listing = Listing::of(root)?;
    found.set_aside(None, &listing);
    for (stem, path) in listing.volumes {
        match cut(&stem) {
            Some((id, name)) => add(id, name, path, found),
            None => found.unused(None, path, "not SUBJECT_MODALITY"),
        }
    }
    for (id, folder) in listing.folders {
        collect_subject(&id, &folder, found);
    }
    Ok(())
}

fn collect_subject(id: &str, folder: &Path, found: &mut Found) {
    let Some(listing) = found.list(folder) else {
        return;
    };
    found.subject(id);
    found.set_aside(Some(id), &listing);
    for (stem, path) in listing.volumes {
        add(id, behind(&stem, id).unwrap_or(&stem), path, found);
    }
}

fn add(id: &str, name: &str, path: PathBuf, found: &mut Found) {
    match meaning(name) {
        Meaning::Image(modality) => found.image(id, &modality, path),
        Meaning::Lesion { named } => found.mask(id, named, path),
        Meaning::Other(reason) => found.unused(Some(id), path, reason),
    }
}
