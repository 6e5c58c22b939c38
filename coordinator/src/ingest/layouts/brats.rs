//! BraTS: a folder a subject, and in it the files `SUBJECT_flair.nii.gz` and so on; in BraTS 2015 to 2019 the subjects
//! lie in `HGG` and `LGG`, since 2023 the files are `SUBJECT-t2f.nii.gz` and so on.

use std::io;
use std::path::Path;

use super::found::Found;
use super::listing::Listing;
use super::words::{Meaning, is_known_modality, meaning};
use super::{Layout, Orientation};

const MODALITIES: [&str; 4] = ["flair", "t1", "t1ce", "t2"];

/// Folders of grades, with subjects in them.
const GRADES: [&str; 2] = ["hgg", "lgg"];

const UNKNOWN_NAME: &str =
    "not SUBJECT_flair, _t1, _t1ce, _t2 or _seg (since 2023 SUBJECT-t2f, -t1n, -t1c, -t2w, -seg)";

pub(super) const LAYOUT: Layout = Layout {
    orientation: Orientation::Lps,
    pads_to_square: false,
    modality_order: &MODALITIES,
    expects: "SUBJECT/SUBJECT_flair.nii.gz, _t1, _t1ce, _t2 and SUBJECT/SUBJECT_seg.nii.gz (since 2023 SUBJECT-t2f, -t1n, \
         -t1c, -t2w, -seg; to 2019 in HGG and LGG)",
    collect,
    collect_subject,
};

fn collect(root: &Path, found: &mut Found) -> io::Result<()> {
    let listing = Listing::of(root)?;
    for (name, folder) in &listing.folders {
        if GRADES.contains(&name.to_lowercase().as_str())
            && let Some(listing) = found.list(folder)
        {
            subjects(listing, found);
        }
    }
    subjects(listing, found);
    Ok(())
}

fn collect_subject(id: &str, folder: &Path, found: &mut Found) {
    let Some(listing) = found.list(folder) else {
        return;
    };
    found.subject(id);
    found.set_aside(Some(id), &listing);
    for (stem, path) in listing.volumes {
        match behind(&stem, id).map(meaning) {
            Some(Meaning::Image(modality)) if is_known_modality(&modality) => {
                found.image(id, &modality, path);
            }
            Some(Meaning::Lesion { named }) => found.mask(id, named, path),
            Some(Meaning::Other(reason)) => found.unused(Some(id), path, reason),
            Some(Meaning::Image(_)) | None => found.unused(Some(id), path, UNKNOWN_NAME),
        }
    }
}

fn subjects(listing: Listing, found: &mut Found) {
    found.set_aside(None, &listing);
    for (_, path) in listing.volumes {
        found.unused(None, path, "not in a folder of its subject");
    }
    for (id, folder) in listing.folders {
        if !GRADES.contains(&id.to_lowercase().as_str()) {
            collect_subject(&id, &folder, found);
        }
    }
}

/// What follows the subject's name and a separator, whatever the case.
pub(super) fn behind<'a>(stem: &'a str, id: &str) -> Option<&'a str> {
    let (start, rest) = stem.split_at_checked(id.len())?;
    let rest = rest.strip_prefix(['_', '-'])?;
    start.eq_ignore_ascii_case(id).then_some(rest)
}
