//! A synthetic data set: brain-like volumes with lesions, as real NIfTI in the folders of a real set.
//!
//! A lesion is as bright as grey matter in each modality, and there is several times more grey matter than lesion, so
//! no threshold finds it. What gives it away is its place in the slice, size and shape. All volumes are a function of (seed,
//! subject, grid), not of threads or of what was written before.

mod anatomy;
mod contrast;
mod lesion;
mod smooth;
mod volumes;

use std::fs;
use std::path::{Path, PathBuf};

use anofpdm_common::store::durable::{self, DiskError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use volumes::Subject;

/// Remembers what a folder was made from.
const MARKER: &str = "phantom.json";

/// Changes whenever the same request gives other volumes, so that no folder is a mixture of two.
const VERSION: u32 = 2;

/// What a folder was made from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    version: u32,
    #[serde(flatten)]
    request: PhantomRequest,
}

/// Which real data set is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Four modalities, axes to the left, back and head
    Brats,
    /// T1 alone, axes to the right, front and head
    Atlas,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhantomRequest {
    /// Which real data set is imitated.
    pub kind: Kind,
    pub subjects: usize,
    pub seed: u64,
    /// Voxels along the first two axes; BraTS has 240. The third has 155 of 240 as many.
    pub grid: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot write {path}: {source}")]
    Volume {
        path: PathBuf,
        source: nifti::NiftiError,
    },
    #[error(
        "{0}: holds something else than this phantom, or one of another version of this program; choose an empty or new folder"
    )]
    Foreign(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhantomSummary {
    /// Subjects, with and without lesion.
    pub subjects: usize,
    pub healthy_subjects: usize,
    pub shape: [usize; 3],
}

/// Writes the phantom into `out`; `done` is told each finished subject, from several threads. Subjects that an
/// interrupted call with the same request wrote are kept.
pub fn generate(
    request: &PhantomRequest,
    out: &Path,
    done: &(dyn Fn(&str) + Sync),
) -> Result<PhantomSummary, PhantomError> {
    claim(request, out)?;
    let healthy = (0..request.subjects)
        .into_par_iter()
        .map(|index| {
            let subject = Subject::new(request, index);
            subject.write(out)?;
            done(&subject.id());
            Ok(usize::from(subject.is_healthy()))
        })
        .sum::<Result<usize, PhantomError>>()?;
    Ok(PhantomSummary {
        subjects: request.subjects,
        healthy_subjects: healthy,
        shape: volumes::shape(request.grid),
    })
}

/// Takes a new or empty folder, or one that this very request has taken before.
fn claim(request: &PhantomRequest, out: &Path) -> Result<(), PhantomError> {
    durable::create_dir(out)?;
    let marker = out.join(MARKER);
    let wanted = Marker {
        version: VERSION,
        request: request.clone(),
    };
    let taken: Option<Marker> = fs::read(&marker)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    if taken.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let mut entries = fs::read_dir(out).map_err(|e| DiskError::new("list", out, e))?;
    if entries.next().is_some() {
        return Err(PhantomError::Foreign(out.to_path_buf()));
    }
    let text = serde_json::to_vec_pretty(&wanted)
        .map_err(|e| DiskError::new("encode", &marker, e.into()))?;
    Ok(durable::write(&marker, &text)?)
}

#[cfg(test)]
mod tests;
