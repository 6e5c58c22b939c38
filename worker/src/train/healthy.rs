//! The slices without lesion, for networks that learn what healthy looks like.

use std::sync::Arc;

use anofpdm_common::store::slices::SliceAxis;

use super::data::{DataError, TrainingData};

/// The label of a slice without lesion.
const HEALTHY: u8 = 0;

/// Those slices of another set whose image-level label says healthy, in its order.
#[derive(Debug)]
pub struct HealthyOnly {
    data: Arc<dyn TrainingData>,
    /// Their numbers in `data`.
    slices: Vec<usize>,
}

impl HealthyOnly {
    /// Chooses by label alone; no image is read.
    pub fn of(data: Arc<dyn TrainingData>) -> Self {
        let slices = (0..data.len())
            .filter(|index| data.label(*index) == HEALTHY)
            .collect();
        Self { data, slices }
    }

    fn inner(&self, index: usize) -> Option<usize> {
        self.slices.get(index).copied()
    }

    fn absent(&self, index: usize) -> DataError {
        DataError {
            name: self.name(index),
            reason: "no such slice".to_owned(),
        }
    }
}

impl TrainingData for HealthyOnly {
    fn len(&self) -> usize {
        self.slices.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.data.shape()
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        match self.inner(index) {
            Some(slice) => self.data.fill(slice, image),
            None => Err(self.absent(index)),
        }
    }

    fn label(&self, _: usize) -> u8 {
        HEALTHY
    }

    fn name(&self, index: usize) -> String {
        self.inner(index)
            .map_or_else(|| format!("number {index}"), |slice| self.data.name(slice))
    }

    fn left_right(&self, index: usize) -> Result<SliceAxis, DataError> {
        match self.inner(index) {
            Some(slice) => self.data.left_right(slice),
            None => Err(self.absent(index)),
        }
    }
}
