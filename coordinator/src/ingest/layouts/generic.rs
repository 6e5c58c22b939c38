//! Any folder of named NIfTI: `SUBJECT_MODALITY.nii[.gz]` side by side, or a folder for each subject.

use std::path::{Path, PathBuf};

use super::{Found, Layout, Orientation, entries, folder_name, nifti_stem};

pub(super) struct Generic;

/// What a mask may be called.
const MASKS: [&str; 4] = ["seg", "mask", "lesion", "label"];

impl Layout for Generic {
    fn orientation(&self) -> Orientation {
        Orientation::Lps
    }

    fn pads_to_square(&self) -> bool {
        true
    }

    fn modality_order(&self) -> &'static [&'static str] {
        &["flair", "t1", "t1ce", "t2"]
    }

    fn expects(&self) -> &'static str {
        "SUBJECT_MODALITY.nii.gz or SUBJECT/SUBJECT_MODALITY.nii.gz, masks as MODALITY seg, mask, lesion or label"
    }

    fn collect(&self, root: &Path, found: &mut Found) -> std::io::Result<()> {
        for path in entries(root)? {
            if let Some(id) = folder_name(&path) {
                found.subject(id);
                for file in entries(&path)? {
                    if let Some(stem) = nifti_stem(&file) {
                        let prefixed = stem
                            .strip_prefix(id)
                            .and_then(|rest| rest.strip_prefix('_'));
                        add(id, prefixed.unwrap_or(stem), file.clone(), found);
                    }
                }
            } else if let Some((id, name)) =
                nifti_stem(&path).and_then(|stem| stem.rsplit_once('_'))
            {
                add(id, name, path.clone(), found);
            }
        }
        Ok(())
    }
}

fn add(id: &str, name: &str, path: PathBuf, found: &mut Found) {
    let name = name.to_lowercase();
    if MASKS.contains(&name.as_str()) {
        found.mask(id, path);
    } else {
        found.image(id, &name, path);
    }
}
