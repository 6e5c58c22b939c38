//! BraTS: `SUBJECT/SUBJECT_{flair,t1,t1ce,t2,seg}.nii.gz`.

use std::path::Path;

use super::{Found, Layout, Orientation, entries, folder_name, nifti_stem};

pub(super) struct Brats;

const MODALITIES: [&str; 4] = ["flair", "t1", "t1ce", "t2"];

impl Layout for Brats {
    fn orientation(&self) -> Orientation {
        Orientation::Lps
    }

    fn pads_to_square(&self) -> bool {
        false
    }

    fn modality_order(&self) -> &'static [&'static str] {
        &MODALITIES
    }

    fn expects(&self) -> &'static str {
        "SUBJECT/SUBJECT_flair.nii.gz, _t1, _t1ce, _t2 and SUBJECT/SUBJECT_seg.nii.gz"
    }

    fn collect(&self, root: &Path, found: &mut Found) -> std::io::Result<()> {
        for folder in entries(root)? {
            let Some(id) = folder_name(&folder) else {
                continue;
            };
            found.subject(id);
            for path in entries(&folder)? {
                let name = nifti_stem(&path)
                    .and_then(|stem| stem.strip_prefix(id))
                    .and_then(|rest| rest.strip_prefix('_'));
                match name {
                    Some("seg") => found.mask(id, path.clone()),
                    Some(modality) if MODALITIES.contains(&modality) => {
                        found.image(id, modality, path.clone())
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
