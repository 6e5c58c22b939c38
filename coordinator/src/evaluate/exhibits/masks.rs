//! Masks of single slices, out of the records of a cell.

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::plan::SliceRef;
use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::ArtifactStore;

use crate::evaluate::{EvaluateError, Finished};
use crate::report::exhibits::Mask;
use crate::stored_record;

/// The masks of a cell on these slices.
pub(super) fn masks(
    finished: &Finished,
    artifacts: &ArtifactStore,
    cell: usize,
    shown: &BTreeSet<SliceRef>,
    pixels: usize,
) -> Result<BTreeMap<SliceRef, Mask>, EvaluateError> {
    let mut found = BTreeMap::new();
    let batches = finished.plan.batches.iter().zip(&finished.records);
    for (batch, records) in batches {
        if !batch.iter().any(|slice| shown.contains(slice)) {
            continue;
        }
        let digest = records[cell].1;
        let masks: Vec<_> = match stored_record::read(artifacts, digest)? {
            Record::Masks(scores) => scores.into_iter().map(|score| score.mask).collect(),
            Record::RatedMasks(scores) => {
                let scores = scores.into_iter();
                scores.map(|rated| rated.score.mask).collect()
            }
            Record::Restored(scores) => scores.into_iter().map(|score| score.mask).collect(),
            _ => return Err(EvaluateError::Kind(digest)),
        };
        for (slice, mask) in batch.iter().zip(masks) {
            if shown.contains(slice)
                && let Ok(mask) = mask.mask(pixels)
            {
                found.insert(*slice, Mask::of(mask.iter().map(|pixel| *pixel != 0)));
            }
        }
    }
    Ok(found)
}
