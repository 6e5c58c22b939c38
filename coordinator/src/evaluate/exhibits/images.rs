//! Slices as they are shown: images in grey, and the truth.

use std::collections::BTreeMap;

use anofpdm_common::plan::SliceRef;
use anofpdm_common::store::slices::SubjectImages;

use crate::dataset::Dataset;
use crate::evaluate::EvaluateError;
use crate::report::exhibits::Mask;

/// A slice as it is shown, without what methods made of it.
pub(super) struct Shown {
    pub(super) images: Vec<Vec<u8>>,
    pub(super) truth: Mask,
}

/// Opens each subject once.
pub(super) struct Images<'a> {
    dataset: &'a Dataset,
    open: BTreeMap<u32, SubjectImages>,
    values: Vec<f32>,
}

impl<'a> Images<'a> {
    pub(super) const fn new(dataset: &'a Dataset) -> Self {
        Self {
            dataset,
            open: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, slice: SliceRef) -> Result<Shown, EvaluateError> {
        let dataset = self.dataset;
        let id = dataset.subject(slice);
        let subject = match self.open.entry(slice.subject) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(dataset.store().images().subject(id)?)
            }
        };
        let position = slice.position as usize;
        subject.read_slice(position, &mut self.values)?;
        let pixels = subject.size * subject.size;
        dataset
            .scaling()
            .apply(&mut self.values, subject.channels, pixels);
        let images = self.values.chunks(pixels.max(1));
        let truth = dataset.store().truth().mask(id, position)?;
        let truth = truth.unwrap_or_default();
        Ok(Shown {
            images: images.map(grey).collect(),
            truth: Mask::of(truth.iter().map(|pixel| *pixel != 0)),
        })
    }
}

/// -1 is black, 1 is white.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn grey(scaled: &[f32]) -> Vec<u8> {
    let level = |value: &f32| (127.5 * (value.clamp(-1.0, 1.0) + 1.0)).round() as u8;
    scaled.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_intensities_become_grey() {
        assert_eq!(
            grey(&[-1.0, 0.0, 1.0, 7.0, f32::NAN]),
            [0, 128, 255, 255, 0]
        );
    }
}
