//! Where a mask lies against the truth: what its overlap does not tell.

use serde::{Deserialize, Serialize};

use super::lesions::LesionCounts;
use super::mask_grid::MaskGrid;
use super::surface_distance::hd95;

/// How far off the border of a mask is, and how many lesions it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Localization {
    /// In units of the grid's spacing; `None` where a mask is empty.
    pub hd95: Option<f64>,
    pub lesions: LesionCounts,
}

impl Localization {
    /// Compares two masks (any value but 0 is set). Components of fewer than `minimum` pixels do not count as lesions.
    ///
    /// # Panics
    /// When a mask does not hold a value for every pixel of the grid.
    pub fn of<const N: usize>(
        predicted: &[u8],
        truth: &[u8],
        grid: &MaskGrid<N>,
        minimum: usize,
    ) -> Self {
        Self {
            hd95: hd95(predicted, truth, grid),
            lesions: LesionCounts::count(predicted, truth, grid, minimum),
        }
    }

    /// The same truth with an empty prediction: what a slice called healthy counts as.
    #[must_use]
    pub const fn emptied(self) -> Self {
        Self {
            hd95: None,
            lesions: LesionCounts {
                truth: self.lesions.truth,
                found: 0,
                predicted: 0,
                spurious: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_masks::{SLICE, slices};
    use super::*;

    #[test]
    fn an_emptied_mask_is_compared_as_an_empty_one() {
        let [a, b] = slices();
        let with = Localization::of(&b, &a, &SLICE, 1);
        assert!(with.hd95.is_some() && with.lesions.found > 0);
        let empty = Localization::of(&vec![0; a.len()], &a, &SLICE, 1);
        assert_eq!(with.emptied(), empty);
    }
}
