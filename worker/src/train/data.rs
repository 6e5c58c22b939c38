//! Training slices: what the trainer asks of them, and a bounded cache in front of slow ones.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anofpdm_common::store::slices::SliceAxis;

/// A training slice that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("training slice {name}: {reason}")]
pub struct DataError {
    pub name: String,
    pub reason: String,
}

/// The slices of the training subjects, healthy and not, scaled to [-1, 1].
pub trait TrainingData: std::fmt::Debug + Send + Sync {
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Modalities, height, width of every slice.
    fn shape(&self) -> [usize; 3];

    /// Writes slice `index` into `image`, `[C, H, W]` in row-major order.
    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError>;

    /// Image-level label of slice `index`: 0 healthy, 1 unhealthy.
    fn label(&self, index: usize) -> u8;

    /// The name of slice `index`, for messages.
    fn name(&self, index: usize) -> String;

    /// The axis of slice `index` along which the patient's left and right lie.
    ///
    /// # Errors
    /// When nothing says which it is.
    fn left_right(&self, index: usize) -> Result<SliceAxis, DataError>;
}

/// Usual budget of a [`Cached`]: small sets fit whole, the paper's (tens of GB) are read as they come.
pub const CACHE_BYTES: usize = 1 << 30;

/// Keeps slices in memory, first come first kept, until a byte budget is used up.
///
/// Every epoch visits every slice once in random order, so a slice's age says nothing about its
/// next use: evicting would only add copies, and a fixed set hits as often as any other.
pub struct Cached<D> {
    data: D,
    slots: Vec<OnceLock<Box<[f32]>>>,
    bytes_left: AtomicUsize,
}

impl<D: TrainingData> Cached<D> {
    /// Caches up to `budget` bytes of `data`.
    pub fn new(data: D, budget: usize) -> Self {
        let slots = (0..data.len()).map(|_| OnceLock::new()).collect();
        Self {
            data,
            slots,
            bytes_left: AtomicUsize::new(budget),
        }
    }
}

impl<D: TrainingData> std::fmt::Debug for Cached<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cached")
            .field("slices", &self.slots.len())
            .field("bytes_left", &self.bytes_left)
            .finish_non_exhaustive()
    }
}

impl<D: TrainingData> TrainingData for Cached<D> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.data.shape()
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        let slot = self.slots.get(index);
        if let Some(kept) = slot.and_then(OnceLock::get)
            && kept.len() == image.len()
        {
            image.copy_from_slice(kept);
            return Ok(());
        }
        self.data.fill(index, image)?;
        let bytes = size_of_val(image);
        let reserved = self
            .bytes_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        if let (Ok(_), Some(slot)) = (reserved, slot)
            && slot.set(image.into()).is_err()
        {
            // Another thread kept the same slice meanwhile.
            self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn label(&self, index: usize) -> u8 {
        self.data.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.data.name(index)
    }

    fn left_right(&self, index: usize) -> Result<SliceAxis, DataError> {
        self.data.left_right(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices of four values each; counts the reads.
    #[derive(Debug)]
    struct Counting {
        reads: AtomicUsize,
    }

    impl TrainingData for Counting {
        fn len(&self) -> usize {
            5
        }
        fn shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }
        fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            image.fill(index as f32);
            Ok(())
        }
        fn label(&self, _: usize) -> u8 {
            0
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn left_right(&self, _: usize) -> Result<SliceAxis, DataError> {
            Ok(SliceAxis::Columns)
        }
    }

    #[test]
    fn the_budget_holds_and_values_do_not_depend_on_it() {
        for (budget, reads) in [(0, 15), (3 * 16 + 15, 5 + 2 * 2), (1 << 20, 5)] {
            let inner = Counting {
                reads: AtomicUsize::new(0),
            };
            let cached = Cached::new(inner, budget);
            for index in (0..5).chain(0..5).chain(0..5) {
                let mut image = [0.0; 4];
                cached.fill(index, &mut image).unwrap();
                assert_eq!(image, [index as f32; 4]);
            }
            assert_eq!(cached.data.reads.load(Ordering::Relaxed), reads, "{budget}");
        }
    }
}
