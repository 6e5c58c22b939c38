//! The numbers of one volume, or of one slice by itself.

use serde::{Deserialize, Serialize};

use super::localization::Localization;
use super::mask_grid::MaskGrid;
use super::overlap::PooledOverlap;

/// What two masks on one grid have in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VolumeMetrics {
    /// Counts of all voxels together; [`PooledOverlap::dice`] is 3-D DICE.
    #[serde(flatten)]
    pub overlap: PooledOverlap,
    #[serde(flatten)]
    pub localization: Localization,
}

impl VolumeMetrics {
    /// Compares two masks (any value but 0 is set). Components of fewer than `minimum` voxels do not count as lesions.
    ///
    /// # Panics
    /// When a mask does not hold a value for every voxel of the grid.
    pub fn of<const N: usize>(
        predicted: &[u8],
        truth: &[u8],
        grid: &MaskGrid<N>,
        minimum: usize,
    ) -> Self {
        grid.check(predicted);
        grid.check(truth);
        let mut overlap = PooledOverlap::default();
        for (p, t) in predicted.iter().zip(truth) {
            let (p, t) = (u64::from(*p != 0), u64::from(*t != 0));
            overlap.predicted += p;
            overlap.truth += t;
            overlap.intersection += p & t;
        }
        Self {
            overlap,
            localization: Localization::of(predicted, truth, grid, minimum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_masks::{VOLUME, volumes};
    use super::*;

    /// numpy 2.4.6.
    #[test]
    fn dice_of_a_volume_is_of_all_its_voxels() {
        let [a, b] = volumes();
        let found = VolumeMetrics::of(&b, &a, &VOLUME, 1);
        assert_eq!((found.overlap.truth, found.overlap.predicted), (149, 131));
        assert!((found.overlap.dice() - 0.664_285_714_285_714_3).abs() < 1e-8);
        let empty = VolumeMetrics::of(&[0; 4], &[0; 4], &MaskGrid::slice(2, 2), 1);
        assert_eq!((empty.overlap.dice(), empty.localization.hd95), (1.0, None));
    }
}
