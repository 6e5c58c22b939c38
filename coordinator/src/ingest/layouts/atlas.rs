//! ATLAS: a T1 and a lesion mask for each subject, in a folder of its own or nested as ATLAS v2.0 (BIDS) publishes it.

use std::io;
use std::path::Path;

use super::found::Found;
use super::listing::Listing;
use super::words::{Meaning, meaning};
use super::{Layout, Orientation};

/// ATLAS v2.0 needs five: cohort, subject, session, `anat`, and the file's own folder above them.
const MAX_DEPTH: usize = 6;

pub(super) const LAYOUT: Layout = Layout {
    orientation: Orientation::Ras,
    pads_to_square: false,
    modality_order: &["t1"],
    expects: "SUBJECT/…_T1w.nii.gz and SUBJECT/…_mask.nii.gz (or …_label-lesion_roi, …_label-L_desc-…_mask), at any depth as \
         in ATLAS v2.0",
    collect,
    collect_subject,
};

fn collect(root: &Path, found: &mut Found) -> io::Result<()> {
    descend(root, Listing::of(root)?, MAX_DEPTH, found);
    Ok(())
}

fn collect_subject(_: &str, folder: &Path, found: &mut Found) {
    if let Some(listing) = found.list(folder) {
        descend(folder, listing, 0, found);
    }
}

fn descend(folder: &Path, listing: Listing, depth: usize, found: &mut Found) {
    let own = folder.file_name().and_then(|name| name.to_str());
    found.set_aside(None, &listing);
    for (stem, path) in listing.volumes {
        let Some((id, name)) = subject_id(own, &stem) else {
            found.unused(None, path, "no subject in its name");
            continue;
        };
        let is_t1 = stem.len() > 3 && stem.to_lowercase().ends_with("_t1w");
        match meaning(name) {
            Meaning::Lesion { named } => found.mask(&id, named, path),
            Meaning::Other(reason) => found.unused(Some(&id), path, reason),
            Meaning::Image(_) if is_t1 => found.image(&id, "t1", path),
            Meaning::Image(_) => {
                found.unused(Some(&id), path, "neither …_T1w nor a mask of lesions")
            }
        }
    }
    for (_, inner) in listing.folders {
        if depth == 0 {
            continue;
        }
        if let Some(listing) = found.list(&inner) {
            descend(&inner, listing, depth - 1, found);
        }
    }
}

/// `sub-…` of the file name, with the session unless it is the first; else the name of the folder. And what is left of
/// the file name.
fn subject_id<'a>(folder: Option<&str>, stem: &'a str) -> Option<(String, &'a str)> {
    let (first, rest) = stem.split_once('_').unwrap_or((stem, ""));
    if first.starts_with("sub-") {
        let session = rest.split('_').find(|entity| entity.starts_with("ses-"));
        let id = match session {
            Some(session) if session != "ses-1" => format!("{first}_{session}"),
            _ => first.to_owned(),
        };
        return Some((id, rest));
    }
    let folder = folder?;
    let name = super::brats::behind(stem, folder).unwrap_or(stem);
    Some((folder.to_owned(), name))
}
