//! What a run was computed on, as `summary.json` says it.

use anofpdm_common::ids::Digest;
use anofpdm_common::store::slices::Split;
use serde::{Deserialize, Serialize};

use super::slices::SliceName;

/// The slices of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Digest of the slice store.
    pub store: Digest,
    /// Channels of the store, and those whose maps are averaged.
    pub modalities: Vec<String>,
    pub scored: Vec<String>,
    /// Side of a slice, pixels.
    pub size: usize,
    /// [`list_digest`] of the test slices.
    pub test_list: Digest,
    /// Training, validation and test.
    pub splits: Vec<SplitData>,
}

/// What there is of one split: all of the training subjects, of the others the slices that the run looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitData {
    pub split: Split,
    pub patients: usize,
    pub slices: usize,
    /// Of these with a lesion: by the store's labels, of test slices by their masks.
    pub unhealthy: usize,
}

/// blake3 of a line `SUBJECT,SLICE` for each slice, sorted by subject and slice: which slices they are, in whatever order.
pub fn list_digest<'a>(slices: impl IntoIterator<Item = &'a SliceName>) -> Digest {
    let slices = slices.into_iter();
    let mut names: Vec<(&str, i64)> = slices
        .map(|slice| (slice.subject.as_str(), slice.slice))
        .collect();
    names.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (subject, slice) in names {
        hasher.update(format!("{subject},{slice}\n").as_bytes());
    }
    hasher.finalize().into()
}
