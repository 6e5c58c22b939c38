//! What the run was computed on: the store, and how much of each split.

use anofpdm_common::store::slices::Split;

use crate::dataset::Dataset;
use crate::report::data::{Data, SplitData, list_digest};
use crate::report::slices::SliceTable;
use crate::report::summary::Classification;

/// The classifications know how many validation and test slices there were.
pub(super) fn data(
    dataset: &Dataset,
    table: &SliceTable,
    classifications: &[Classification],
) -> Data {
    let manifest = dataset.store().manifest();
    let train = dataset.training_subjects();
    let looked_at = [Split::Validation, Split::Test].map(|split| {
        let found = classifications.iter().find(|one| one.split == split);
        SplitData {
            split,
            patients: found.map_or(0, |one| one.patients),
            slices: found.map_or(0, |one| one.slices),
            unhealthy: found.map_or(0, |one| one.unhealthy),
        }
    });
    let train = SplitData {
        split: Split::Train,
        patients: dataset.patients_of(Split::Train),
        slices: train.iter().map(|subject| subject.slices).sum(),
        unhealthy: train.iter().map(|subject| subject.lesion_slices).sum(),
    };
    Data {
        store: manifest.digest,
        modalities: manifest.modalities.clone(),
        scored: table.modalities.clone(),
        size: manifest.size,
        test_list: list_digest(&table.slices),
        splits: [vec![train], looked_at.to_vec()].concat(),
    }
}
