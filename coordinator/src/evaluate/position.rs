//! What is known of a slice without any network: its image-level label, how much of it is head, and where it lies in its
//! volume. Slices near the middle show more of the head and more lesions, so these alone tell kinds of slices apart.

use std::collections::BTreeMap;

use anofpdm_common::plan::SliceRef;
use anofpdm_common::store::scaling::foreground;
use anofpdm_common::store::slices::{StoreError, SubjectImages};
use rayon::prelude::*;

use crate::dataset::Dataset;

/// The subjects of some slices, opened once each.
pub(super) struct Subjects<'a> {
    dataset: &'a Dataset,
    open: BTreeMap<u32, SubjectImages>,
}

impl<'a> Subjects<'a> {
    pub(super) fn of(dataset: &'a Dataset, slices: &[SliceRef]) -> Result<Self, StoreError> {
        let images = dataset.store().images();
        let mut open = BTreeMap::new();
        for slice in slices {
            if let std::collections::btree_map::Entry::Vacant(new) = open.entry(slice.subject) {
                new.insert(images.subject(dataset.subject(*slice))?);
            }
        }
        Ok(Self { dataset, open })
    }

    fn subject(&self, slice: SliceRef) -> Option<&SubjectImages> {
        self.open.get(&slice.subject)
    }

    /// Whether the image-level label says that the slice shows a lesion.
    pub(super) fn is_unhealthy(&self, slice: SliceRef) -> bool {
        let labels = self.subject(slice).map(|subject| &subject.labels);
        labels.and_then(|labels| labels.get(slice.position as usize)) > Some(&0)
    }

    /// Nearness to the middle of the volume along its head axis: 1 there, 0 at both ends.
    pub(super) fn middle_slice(&self, slice: SliceRef) -> f32 {
        let place = || {
            let subject = self.subject(slice)?;
            let source = subject.source();
            let depth = source.shape.get(source.axes[2].axis)?;
            let index = subject.slice_index.get(slice.position as usize)?;
            Some((*index, *depth))
        };
        place().map_or(f32::NAN, |(index, depth)| nearness(index, depth))
    }

    /// Place of a slice in its volume; its place among the subject's slices where that is not known.
    pub(super) fn place(&self, slice: SliceRef) -> i64 {
        let places = self.subject(slice).map(|subject| &subject.slice_index);
        let place = places.and_then(|places| places.get(slice.position as usize));
        place.map_or(i64::from(slice.position), |place| i64::from(*place))
    }

    /// Foreground pixels of each slice.
    pub(super) fn brain_areas(&self, slices: &[SliceRef]) -> Result<Vec<u32>, StoreError> {
        slices
            .par_iter()
            .map_init(Vec::new, |image, slice| {
                let Some(subject) = self.subject(*slice) else {
                    return Ok(0);
                };
                subject.read_slice(slice.position as usize, image)?;
                let (channels, pixels) = (subject.channels, subject.size * subject.size);
                self.dataset.scaling().apply(image, channels, pixels);
                let head = foreground(image, channels, pixels);
                let area = head.into_iter().filter(|inside| *inside).count();
                Ok(u32::try_from(area).unwrap_or(u32::MAX))
            })
            .collect()
    }
}

/// 1 in the middle of `depth` slices, 0 at the first and the last.
#[allow(clippy::cast_possible_truncation)]
fn nearness(index: i32, depth: usize) -> f32 {
    let last = depth.saturating_sub(1).max(1) as f64;
    (1.0 - (2.0 * f64::from(index) / last - 1.0).abs()) as f32
}

#[cfg(test)]
mod tests {
    use super::nearness;

    #[test]
    fn the_middle_is_nearest() {
        let all: Vec<f32> = (0..5).map(|index| nearness(index, 5)).collect();
        assert_eq!(all, [0.0, 0.5, 1.0, 0.5, 0.0]);
        // Of an even number of slices the two in the middle are equally near.
        assert_eq!(nearness(77, 156), nearness(78, 156));
        assert!(nearness(0, 1).is_finite());
    }
}
