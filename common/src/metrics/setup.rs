//! The two set-ups every number is given for, and what a slice contributes to them.

use serde::{Deserialize, Serialize};

use super::overlap::Overlap;

/// Which slices a number speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// All slices; one classified healthy counts with an empty mask.
    Mixed,
    /// Slices with a lesion, with their mask whatever their classification.
    Unhealthy,
}

/// The statistics of one slice, all integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceStatistics {
    /// Number of the patient, the unit of the bootstrap.
    pub patient: u32,
    /// Whether the slice truly shows a lesion.
    pub unhealthy: bool,
    /// Whether the method says so. Always true for methods that do not classify.
    pub classified_unhealthy: bool,
    /// Overlap of the mask, made as if the slice were unhealthy, with the truth.
    pub overlap: Overlap,
}

impl Setup {
    /// Both set-ups, in the order of the paper's tables.
    pub const ALL: [Self; 2] = [Self::Mixed, Self::Unhealthy];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether a slice belongs to this set-up.
    pub const fn includes(self, slice: &SliceStatistics) -> bool {
        match self {
            Self::Mixed => true,
            Self::Unhealthy => slice.unhealthy,
        }
    }

    /// Whether a slice of this set-up counts with an empty mask.
    pub const fn empties(self, slice: &SliceStatistics) -> bool {
        match self {
            Self::Mixed => !slice.classified_unhealthy,
            Self::Unhealthy => false,
        }
    }

    /// The overlap that a slice of this set-up counts with.
    pub const fn overlap(self, slice: &SliceStatistics) -> Overlap {
        if self.empties(slice) {
            slice.overlap.emptied()
        } else {
            slice.overlap
        }
    }

    /// The slices of this set-up, in order, with the overlap they count with.
    pub fn slices(
        self,
        slices: &[SliceStatistics],
    ) -> impl Iterator<Item = (&SliceStatistics, Overlap)> {
        slices
            .iter()
            .filter(move |slice| self.includes(slice))
            .map(move |slice| (slice, self.overlap(slice)))
    }

    /// Indices of the slices of this set-up, ascending.
    pub fn indices(self, slices: &[SliceStatistics]) -> Vec<usize> {
        (0..slices.len())
            .filter(|index| self.includes(&slices[*index]))
            .collect()
    }
}
