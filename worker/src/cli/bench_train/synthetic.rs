//! Slices that cost next to nothing to read, so that the network is what is timed.

use anofpdm_common::store::slices::SliceAxis;

use crate::train::{DataError, TrainingData};

/// Batches in an epoch.
const BATCHES: u64 = 4;

/// Slices of waves, all different.
#[derive(Debug)]
pub(super) struct Synthetic {
    shape: [usize; 3],
    slices: usize,
}

impl Synthetic {
    /// Slices of `shape` for a few batches of `batch`.
    pub(super) fn new(shape: [usize; 3], batch: u64) -> Self {
        Self {
            shape,
            slices: usize::try_from(batch.saturating_mul(BATCHES)).unwrap_or(usize::MAX),
        }
    }
}

impl TrainingData for Synthetic {
    fn len(&self) -> usize {
        self.slices
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        for (pixel, value) in image.iter_mut().enumerate() {
            // A saw tooth in [-1, 1].
            #[allow(clippy::cast_precision_loss)]
            let height = ((pixel + 7 * index) % 129) as f32;
            *value = height / 64.0 - 1.0;
        }
        Ok(())
    }

    fn label(&self, index: usize) -> u8 {
        u8::from(index % 2 == 1)
    }

    fn name(&self, index: usize) -> String {
        format!("synthetic {index}")
    }

    fn left_right(&self, _: usize) -> Result<SliceAxis, DataError> {
        Ok(SliceAxis::Columns)
    }
}
