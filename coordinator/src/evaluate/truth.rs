//! The pixel labels of the test slices, which masks are laid beside.

use anofpdm_common::metrics::{Localization, MaskGrid, MaskRuns};
use anofpdm_common::plan::SliceRef;
use anofpdm_common::store::slices::StoreError;
use rayon::prelude::*;

use crate::dataset::Dataset;

/// Components of this many pixels count as lesions: all of them.
pub(super) const SMALLEST_LESION: usize = 1;

/// Truth of each test slice, as run lengths.
pub(super) struct TruthMasks {
    masks: Vec<MaskRuns>,
    grid: MaskGrid<2>,
}

impl TruthMasks {
    /// Reads that of `slices`; a slice without one shows no lesion.
    pub(super) fn read(dataset: &Dataset, slices: &[SliceRef]) -> Result<Self, StoreError> {
        let store = dataset.store();
        let (truth, size) = (store.truth(), store.manifest().size);
        let masks = slices.par_iter().map(|slice| {
            let mask = truth.mask(dataset.subject(*slice), slice.position as usize)?;
            Ok(mask.map_or_else(MaskRuns::default, |mask| MaskRuns::new(&mask)))
        });
        Ok(Self {
            masks: masks.collect::<Result<_, StoreError>>()?,
            grid: MaskGrid::slice(size, size),
        })
    }

    /// Where `predicted` lies on slice number `slice`, in pixels; `None` where one of the masks is of another size.
    pub(super) fn localize(&self, slice: usize, predicted: &MaskRuns) -> Option<Localization> {
        let pixels = self.grid.pixels();
        let truth = self.masks.get(slice)?.mask(pixels).ok()?;
        let predicted = predicted.mask(pixels).ok()?;
        Some(Localization::of(
            &predicted,
            &truth,
            &self.grid,
            SMALLEST_LESION,
        ))
    }
}
