//! Training slices out of a slice store: images and image-level labels, never masks.

use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{ImageReader, NoLeftRight, SliceAxis, StoreError, Watch};

use super::data::{DataError, TrainingData};

/// All slices, healthy and not, of some subjects of a store, scaled to [-1, 1]; read from the disk
/// at every call (put [`super::Cached`] in front).
#[derive(Debug)]
pub struct StoreSlices {
    images: ImageReader,
    scaling: Scaling,
    subjects: Vec<Subject>,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Subject {
    id: String,
    /// Place of each slice in its volume.
    slice_index: Vec<i32>,
    left_right: Result<SliceAxis, NoLeftRight>,
}

/// Where a training slice lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    subject: u32,
    slice: u32,
    label: u8,
}

impl StoreSlices {
    /// The slices of `subjects`, in their order. Verifies their files, which `watch` is told of, and reads labels now,
    /// images later.
    ///
    /// # Errors
    /// When a subject is unknown, or its file is damaged or not as the manifest says.
    pub fn open<S: AsRef<str> + Sync>(
        images: ImageReader,
        subjects: &[S],
        scaling: Scaling,
        watch: &Watch<'_>,
    ) -> Result<Self, StoreError> {
        images.verify(subjects, watch)?;
        let mut places = Vec::new();
        let mut opened = Vec::with_capacity(subjects.len());
        for (id, subject) in subjects.iter().zip(0..) {
            let found = images.subject(id.as_ref())?;
            let labels = found.labels.iter().zip(0..);
            places.extend(labels.map(|(label, slice)| Place {
                subject,
                slice,
                label: *label,
            }));
            opened.push(Subject {
                left_right: found.source().left_right(),
                id: found.id,
                slice_index: found.slice_index,
            });
        }
        Ok(Self {
            images,
            scaling,
            subjects: opened,
            places,
        })
    }

    fn place(&self, index: usize) -> Option<(&Place, &Subject)> {
        let place = self.places.get(index)?;
        Some((place, self.subjects.get(place.subject as usize)?))
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), String> {
        let (place, subject) = self.place(index).ok_or("no such slice")?;
        // Opened at every read: a thousand subjects would otherwise hold a thousand open files.
        let mut stored = Vec::with_capacity(image.len());
        self.images
            .subject(&subject.id)
            .and_then(|opened| opened.read_slice(place.slice as usize, &mut stored))
            .map_err(|error| error.to_string())?;
        let [channels, height, width] = self.shape();
        if stored.len() != image.len() || stored.len() != channels * height * width {
            return Err(format!("{} values for {}", stored.len(), image.len()));
        }
        self.scaling.apply(&mut stored, channels, height * width);
        image.copy_from_slice(&stored);
        Ok(())
    }
}

impl TrainingData for StoreSlices {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn shape(&self) -> [usize; 3] {
        let manifest = self.images.manifest();
        [manifest.modalities.len(), manifest.size, manifest.size]
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        self.read(index, image).map_err(|reason| DataError {
            name: self.name(index),
            reason,
        })
    }

    fn label(&self, index: usize) -> u8 {
        self.places.get(index).map_or(0, |place| place.label)
    }

    fn name(&self, index: usize) -> String {
        let named = self.place(index).and_then(|(place, subject)| {
            let number = subject.slice_index.get(place.slice as usize)?;
            Some(format!("{} slice {number}", subject.id))
        });
        named.unwrap_or_else(|| format!("number {index}"))
    }

    fn left_right(&self, index: usize) -> Result<SliceAxis, DataError> {
        let fail = |reason: String| DataError {
            name: self.name(index),
            reason,
        };
        let (_, subject) = self
            .place(index)
            .ok_or_else(|| fail("no such slice".to_owned()))?;
        subject.left_right.map_err(|reason| {
            fail(format!(
                "augment = \"flip\" must know where left and right are, and {reason}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::Arc;

    use anofpdm_common::ids::Digest;
    use anofpdm_common::store::slices::{
        AxisMap, SliceStore, SourceGrid, Split, StoreWriter, SubjectData, SubjectRecord,
    };

    use super::*;
    use crate::train::{Cached, HealthyOnly};

    const SIZE: usize = 4;

    /// The array runs to the left, the back and the head.
    const LPS: [[f64; 4]; 3] = [
        [-1.0, 0.0, 0.0, 0.0],
        [0.0, -1.0, 0.0, 3.0],
        [0.0, 0.0, 1.0, 0.0],
    ];

    /// As software writes it that knows no orientation.
    const IDENTITY: [[f64; 4]; 3] = [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
    ];

    /// Two subjects of two modalities; subject `b` starts at volume slice 40 and has no orientation.
    fn store(root: &Path) -> SliceStore {
        let modalities = ["flair".to_owned(), "t1".to_owned()];
        let writer = StoreWriter::create(root, &modalities, SIZE).unwrap();
        let axis = |axis| AxisMap {
            axis,
            flipped: false,
        };
        let records = [("a", 3_usize, 0_i32), ("b", 2, 40)].map(|(id, slices, first)| {
            let values = slices * 2 * SIZE * SIZE;
            let data = SubjectData {
                notices: Vec::new(),
                image: (0..values)
                    .map(|value| (value % 37) as f32 / 20.0)
                    .collect(),
                label: (0..slices).map(|slice| u8::from(slice == 1)).collect(),
                mask: None,
                slice_index: (first..).take(slices).collect(),
                source: SourceGrid {
                    shape: [SIZE, SIZE, 50],
                    affine: if id == "a" { LPS } else { IDENTITY },
                    axes: [axis(0), axis(1), axis(2)],
                    canvas: [SIZE, SIZE],
                    padding: [0, 0],
                    header: None,
                },
            };
            let written = writer.write_subject(id, Digest::of(b""), &data).unwrap();
            SubjectRecord {
                id: id.to_owned(),
                patient: None,
                split: Split::Train,
                slices,
                lesion_slices: written.lesion_slices,
                digest: written.digest,
            }
        });
        writer.commit(records.to_vec(), Vec::new()).unwrap()
    }

    fn open(
        images: &ImageReader,
        subjects: &[&str],
        scaling: Scaling,
    ) -> Result<StoreSlices, StoreError> {
        StoreSlices::open(images.clone(), subjects, scaling, &|_| {
            ControlFlow::Continue(())
        })
    }

    #[test]
    fn all_slices_of_the_subjects_scaled_with_labels_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let images = store(folder.path()).images();
        for scaling in [Scaling::SliceMinmax, Scaling::Percentile] {
            let slices = open(&images, &["b", "a"], scaling).unwrap();
            assert_eq!(slices.shape(), [2, SIZE, SIZE]);
            let labels: Vec<u8> = (0..slices.len()).map(|i| slices.label(i)).collect();
            assert_eq!(labels, [0, 1, 0, 1, 0]);
            assert_eq!(slices.name(1), "b slice 41");
            let mut image = [0.0; 2 * SIZE * SIZE];
            slices.fill(3, &mut image).unwrap();
            let mut expected = Vec::new();
            let subject = images.subject("a").unwrap();
            subject.read_slice(1, &mut expected).unwrap();
            scaling.apply(&mut expected, 2, SIZE * SIZE);
            assert_eq!(image[..], expected[..]);
            assert!(image.iter().all(|value| (-1.0..=1.0).contains(value)));
        }
    }

    #[test]
    fn left_and_right_are_where_the_source_says() {
        let folder = tempfile::tempdir().unwrap();
        let images = store(folder.path()).images();
        let slices = open(&images, &["a", "b"], Scaling::Percentile).unwrap();
        let slices = HealthyOnly::of(Arc::new(Cached::new(slices, 0)));
        assert_eq!(slices.name(1), "a slice 2");
        assert_eq!(slices.left_right(1).unwrap(), SliceAxis::Rows);
        assert_eq!(
            slices.left_right(2).unwrap_err().to_string(),
            "training slice b slice 40: augment = \"flip\" must know where left and right are, and its volumes have no \
             orientation (their affine is the identity)"
        );
        assert!(slices.left_right(3).is_err());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let images = store(folder.path()).images();
        let unknown = open(&images, &["c"], Scaling::Percentile);
        assert!(unknown.unwrap_err().to_string().contains("'c'"));
        let slices = open(&images, &["b"], Scaling::Percentile).unwrap();
        std::fs::remove_file(folder.path().join("subjects/b.safetensors")).unwrap();
        let mut image = [0.0; 2 * SIZE * SIZE];
        let message = slices.fill(0, &mut image).unwrap_err().to_string();
        assert!(message.contains("b slice 40"), "{message}");
    }

    #[test]
    fn a_damaged_subject_is_not_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        let images = store(folder.path()).images();
        let path = folder.path().join("subjects/b.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        open(&images, &["a"], Scaling::Percentile).unwrap();
        let message = open(&images, &["a", "b"], Scaling::Percentile)
            .unwrap_err()
            .to_string();
        assert!(message.contains("b.safetensors: its bytes"), "{message}");
    }
}
