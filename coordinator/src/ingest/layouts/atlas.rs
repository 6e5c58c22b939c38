//! ATLAS: a T1 and a mask for each subject, in a folder of its own or nested as ATLAS v2.0 (BIDS) publishes it.

use std::path::Path;

use super::{Found, Layout, Orientation, entries, folder_name, nifti_stem};

pub(super) struct Atlas;

/// ATLAS v2.0 needs five: cohort, subject, session, `anat`, and the file's own folder above them.
const MAX_DEPTH: usize = 6;

impl Layout for Atlas {
    fn orientation(&self) -> Orientation {
        Orientation::Ras
    }

    fn pads_to_square(&self) -> bool {
        false
    }

    fn modality_order(&self) -> &'static [&'static str] {
        &["t1"]
    }

    fn expects(&self) -> &'static str {
        "SUBJECT/…_T1w.nii.gz and SUBJECT/…_mask.nii.gz, or the nested folders of ATLAS v2.0"
    }

    fn collect(&self, root: &Path, found: &mut Found) -> std::io::Result<()> {
        descend(root, MAX_DEPTH, found)
    }
}

fn descend(folder: &Path, depth: usize, found: &mut Found) -> std::io::Result<()> {
    for path in entries(folder)? {
        if folder_name(&path).is_some() {
            if depth > 0 {
                descend(&path, depth - 1, found)?;
            }
            continue;
        }
        let Some(stem) = nifti_stem(&path) else {
            continue;
        };
        let Some(id) = subject_id(folder, stem) else {
            continue;
        };
        if stem.ends_with("_T1w") {
            found.image(&id, "t1", path.clone());
        } else if stem.ends_with("_mask") {
            found.mask(&id, path.clone());
        }
    }
    Ok(())
}

/// `sub-…` of the file name, with the session unless it is the first; else the name of the folder.
fn subject_id(folder: &Path, stem: &str) -> Option<String> {
    let mut entities = stem.split('_');
    let subject = entities.next().filter(|first| first.starts_with("sub-"));
    match subject {
        Some(subject) => Some(match entities.find(|entity| entity.starts_with("ses-")) {
            Some(session) if session != "ses-1" => format!("{subject}_{session}"),
            _ => subject.to_owned(),
        }),
        None => folder_name(folder).map(str::to_owned),
    }
}
