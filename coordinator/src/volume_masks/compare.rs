//! One prediction beside its truth: checked, then counted by slice and as a volume.

use std::path::Path;

use anofpdm_common::anofpdm::drop_small;
use anofpdm_common::metrics::{MaskGrid, Overlap, VolumeMetrics};
use anofpdm_common::store::slices::{SliceStore, StoreError};
use serde::{Deserialize, Serialize};

use super::maps::{MapError, slice_scores};
use super::pairs::VolumePair;
use super::scores::SliceScores;
use crate::ingest::masks::{self, LESION, MaskError};
use crate::ingest::patient::patient_of;
use crate::ingest::volume::{Affine, Numbers, Orientation, Volume, VolumeError};

#[derive(Debug, thiserror::Error)]
pub enum VolumePairError {
    #[error("{file} {source}")]
    Volume { file: String, source: VolumeError },
    #[error("{file}: {source}")]
    Mask { file: String, source: MaskError },
    #[error(
        "case {case}: the {what} is {predicted:?} voxels, the truth {truth:?}: bring the {what} back to the grid of the \
         truth first"
    )]
    Shape {
        case: String,
        what: &'static str,
        predicted: [usize; 3],
        truth: [usize; 3],
    },
    #[error(
        "case {case}: the affines of {what} and truth differ: {} and {}; save the {what} with the truth's affine if \
         its voxels are the same places (nibabel.Nifti1Image(data, truth.affine)), resample it if they are not",
        Numbers(.predicted),
        Numbers(.truth)
    )]
    Affine {
        case: String,
        what: &'static str,
        predicted: Box<Affine>,
        truth: Box<Affine>,
    },
    #[error("case {case}: slices of {rows} x {columns} pixels cannot be counted")]
    TooLarge {
        case: String,
        rows: usize,
        columns: usize,
    },
    #[error(
        "case {case}: the store's slices are of another volume: {stored:?} voxels, the truth has {truth:?}"
    )]
    OtherVolume {
        case: String,
        stored: [usize; 3],
        truth: [usize; 3],
    },
    #[error(
        "case {case}: the store has a slice {slice} of it, and the truth has slices 0 to {last} along its head axis"
    )]
    NoSlice {
        case: String,
        slice: i32,
        last: usize,
    },
    #[error("case {case}: {source}; leave out --store, or take that case out")]
    Store { case: String, source: StoreError },
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Counts of one slice across the head axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceCounts {
    /// Place along the head axis.
    pub slice: u32,
    #[serde(flatten)]
    pub overlap: Overlap,
    /// Scores of the stored slice's foreground pixels with their truth, where there is a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<SliceScores>,
}

/// What one prediction is beside its truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedVolume {
    pub case: String,
    pub patient: String,
    /// Of a voxel, in cubic millimetres.
    pub voxel_mm3: f64,
    /// The slices that count, ascending.
    pub slices: Vec<SliceCounts>,
    /// Of all voxels.
    pub volume: VolumeMetrics,
}

/// How volumes are compared.
#[derive(Debug, Clone, Copy)]
pub struct Comparing<'a> {
    /// Components of a predicted slice up to this many pixels are dropped.
    pub component_area: u32,
    /// Components of a volume of fewer voxels are no lesions.
    pub minimum_lesion: usize,
    /// Whose slices count, with the patients they are of; all slices, and the patient in the case's name, without one.
    pub store: Option<&'a SliceStore>,
}

impl Comparing<'_> {
    /// Reads both files of a pair and counts.
    ///
    /// # Errors
    /// When a file is no mask, or the two are not of the same places.
    pub fn compare(&self, pair: &VolumePair) -> Result<ComparedVolume, VolumePairError> {
        let truth = read(&pair.truth)?;
        let predicted = read(&pair.predicted)?;
        let predicted = on_the_grid_of(&truth, predicted, &pair.case, "prediction")?;
        let view = truth.oriented(Orientation::Lps);
        let [rows, columns, depth] = view.shape;
        let countable = rows
            .checked_mul(columns)
            .and_then(|n| u32::try_from(n).ok());
        if countable.is_none() {
            return Err(VolumePairError::TooLarge {
                case: pair.case.clone(),
                rows,
                columns,
            });
        }
        let spacing = truth.header.spacing(&truth.affine);
        let along = view.axes.map(|map| spacing[map.axis]);
        let grid = MaskGrid {
            sides: [depth, rows, columns],
            spacing: [along[2], along[0], along[1]],
        };
        let stacked = |volume: &Volume, area: u32| -> Vec<Vec<u8>> {
            let view = volume.oriented(Orientation::Lps);
            (0..depth)
                .map(|z| {
                    let mut mask: Vec<u8> = view.slice(z).map(|x| u8::from(x > LESION)).collect();
                    drop_small(&mut mask, rows, columns, area);
                    mask
                })
                .collect()
        };
        let (truth_slices, predicted_slices) =
            (stacked(&truth, 0), stacked(&predicted, self.component_area));
        let (patient, counted) = self.slices(&pair.case, &truth, depth)?;
        let scores: Vec<Option<SliceScores>> = match self.scores(pair, &truth)? {
            Some(scores) => scores.into_iter().map(Some).collect(),
            None => vec![None; counted.len()],
        };
        let slices = counted
            .into_iter()
            .zip(scores)
            .map(|(slice, scores)| SliceCounts {
                slice: u32::try_from(slice).unwrap_or(u32::MAX),
                overlap: Overlap::count(&predicted_slices[slice], &truth_slices[slice]),
                scores,
            })
            .collect();
        let volume = VolumeMetrics::of(
            &predicted_slices.concat(),
            &truth_slices.concat(),
            &grid,
            self.minimum_lesion,
        );
        Ok(ComparedVolume {
            case: pair.case.clone(),
            patient,
            voxel_mm3: spacing.iter().product(),
            slices,
            volume,
        })
    }

    /// What the map of a case says of each slice that counts, in their order; `None` without a map or a store.
    fn scores(
        &self,
        pair: &VolumePair,
        truth: &Volume,
    ) -> Result<Option<Vec<SliceScores>>, VolumePairError> {
        let (Some(path), Some(store)) = (&pair.map, self.store) else {
            return Ok(None);
        };
        let map = Volume::read(path).map_err(|source| VolumePairError::Volume {
            file: path.display().to_string(),
            source,
        })?;
        let map = on_the_grid_of(truth, map, &pair.case, "map")?;
        Ok(Some(slice_scores(&pair.case, &map, truth, store)?))
    }

    /// The patient of a case, and the slices of it that count.
    fn slices(
        &self,
        case: &str,
        truth: &Volume,
        depth: usize,
    ) -> Result<(String, Vec<usize>), VolumePairError> {
        let Some(store) = self.store else {
            return Ok((patient_of(case).to_owned(), (0..depth).collect()));
        };
        let failed = |source| VolumePairError::Store {
            case: case.to_owned(),
            source,
        };
        let subject = store.images().subject(case).map_err(failed)?;
        let stored = subject.source();
        if stored.shape != truth.shape {
            return Err(VolumePairError::OtherVolume {
                case: case.to_owned(),
                stored: stored.shape,
                truth: truth.shape,
            });
        }
        let slices = subject.slice_index.iter().map(|slice| {
            let place = usize::try_from(*slice).ok().filter(|z| *z < depth);
            place.ok_or_else(|| VolumePairError::NoSlice {
                case: case.to_owned(),
                slice: *slice,
                last: depth - 1,
            })
        });
        let slices = slices.collect::<Result<_, _>>()?;
        let record = store.manifest().subject(case);
        let patient = record.map_or(case, |record| record.patient());
        Ok((patient.to_owned(), slices))
    }
}

/// Reads a mask.
fn read(path: &Path) -> Result<Volume, VolumePairError> {
    let file = || path.display().to_string();
    let volume = Volume::read(path).map_err(|source| VolumePairError::Volume {
        file: file(),
        source,
    })?;
    masks::check_alone(&volume).map_err(|source| VolumePairError::Mask {
        file: file(),
        source,
    })?;
    Ok(volume)
}

/// A prediction or its map with its axes as those of the truth lie; the same places in another order are the same places.
fn on_the_grid_of(
    truth: &Volume,
    predicted: Volume,
    case: &str,
    what: &'static str,
) -> Result<Volume, VolumePairError> {
    if let Some(axes) = truth.grid().found_in(&predicted.grid()) {
        return Ok(predicted.reordered(axes, truth.affine));
    }
    let case = case.to_owned();
    Err(if predicted.shape == truth.shape {
        VolumePairError::Affine {
            case,
            what,
            predicted: Box::new(predicted.affine),
            truth: Box::new(truth.affine),
        }
    } else {
        VolumePairError::Shape {
            case,
            what,
            predicted: predicted.shape,
            truth: truth.shape,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::volume::tests::test_file::TestFile;

    const AFFINE: Affine = [
        [-1.0, 0.0, 0.0, 3.0],
        [0.0, -2.0, 0.0, 8.0],
        [0.0, 0.0, 3.0, 0.0],
    ];

    const COMPARING: Comparing<'_> = Comparing {
        component_area: 0,
        minimum_lesion: 1,
        store: None,
    };

    struct Pair(tempfile::TempDir);

    impl Pair {
        fn new(truth: &TestFile, predicted: &TestFile) -> Self {
            let folder = tempfile::tempdir().unwrap();
            truth.write(&folder.path().join("truth.nii"));
            predicted.write(&folder.path().join("predicted.nii"));
            Self(folder)
        }

        fn compare(&self, comparing: Comparing<'_>) -> Result<ComparedVolume, VolumePairError> {
            comparing.compare(&VolumePair {
                case: "BraTS-GLI-00001-000".to_owned(),
                predicted: self.0.path().join("predicted.nii"),
                truth: self.0.path().join("truth.nii"),
                map: None,
            })
        }
    }

    /// 4 x 5 x 3 voxels of 1 x 2 x 3 mm, first axis fastest.
    fn mask(set: &[[usize; 3]]) -> TestFile {
        let mut values = [0_f32; 60];
        for [x, y, z] in set {
            values[x + 4 * (y + 5 * z)] = 2.0;
        }
        TestFile::new([4, 5, 3], AFFINE).floats(&values)
    }

    #[test]
    fn slices_run_along_the_head_and_distances_are_in_millimetres() {
        let truth = mask(&[[1, 1, 0], [1, 2, 0], [1, 1, 2]]);
        let predicted = mask(&[[1, 1, 0], [1, 4, 0], [1, 1, 1]]);
        let found = Pair::new(&truth, &predicted).compare(COMPARING).unwrap();
        assert_eq!(found.patient, "BraTS-GLI-00001");
        assert_eq!(found.voxel_mm3, 6.0);
        let counts: Vec<[u32; 3]> = found
            .slices
            .iter()
            .map(|slice| {
                let overlap = slice.overlap;
                [overlap.predicted, overlap.truth, overlap.intersection]
            })
            .collect();
        assert_eq!(counts, [[2, 2, 1], [1, 0, 0], [0, 1, 0]]);
        // From the prediction 0, 3 (from slice 1) and 4 (two rows further); from the truth 0, 2 and 3.
        assert!((found.volume.localization.hd95.unwrap() - 3.9).abs() < 1e-12);
        assert_eq!(found.volume.overlap.intersection, 1);
    }

    #[test]
    fn the_same_places_in_another_order_are_the_same_places() {
        let truth = mask(&[[1, 1, 0], [2, 3, 2]]);
        // Axes to the head, the right and the back.
        let mut values = [0_f32; 60];
        for [x, y, z] in [[1, 1, 0], [2, 3, 2]] {
            values[z + 3 * ((3 - x) + 4 * y)] = 1.0;
        }
        let turned = [
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, -2.0, 8.0],
            [3.0, 0.0, 0.0, 0.0],
        ];
        let predicted = TestFile::new([3, 4, 5], turned).floats(&values);
        let found = Pair::new(&truth, &predicted).compare(COMPARING).unwrap();
        assert_eq!(found.volume.overlap.intersection, 2);
        assert_eq!(found.volume.localization.hd95, Some(0.0));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let truth = mask(&[[1, 1, 0]]);
        let error = |predicted: &TestFile| {
            let pair = Pair::new(&truth, predicted);
            pair.compare(COMPARING).unwrap_err().to_string()
        };
        let mut elsewhere = AFFINE;
        elsewhere[2][3] = 3.0;
        let other = TestFile::new([4, 5, 3], elsewhere).floats(&[0.0; 60]);
        let message = error(&other);
        assert!(
            message.contains("affines of prediction and truth differ"),
            "{message}"
        );
        let smaller = TestFile::new([4, 5, 2], AFFINE).floats(&[0.0; 40]);
        let message = error(&smaller);
        assert!(
            message.contains("[4, 5, 2] voxels, the truth [4, 5, 3]"),
            "{message}"
        );
        let probability = TestFile::new([4, 5, 3], AFFINE).floats(&[0.25; 60]);
        let message = error(&probability);
        assert!(message.contains("no whole number"), "{message}");
        let many = TestFile::new([10, 10, 3], AFFINE)
            .floats(&(0..300_u16).map(f32::from).collect::<Vec<_>>());
        let pair = Pair::new(&many, &many);
        let message = pair.compare(COMPARING).unwrap_err().to_string();
        assert!(message.contains("an image or an atlas"), "{message}");
    }

    #[test]
    fn small_components_of_predicted_slices_are_dropped() {
        let truth = mask(&[[1, 1, 0]]);
        let predicted = mask(&[[1, 1, 0], [1, 2, 0], [3, 4, 0], [3, 4, 1]]);
        let comparing = Comparing {
            component_area: 1,
            ..COMPARING
        };
        let found = Pair::new(&truth, &predicted).compare(comparing).unwrap();
        assert_eq!(found.volume.overlap.predicted, 2);
        assert_eq!(found.volume.localization.lesions.spurious, 0);
    }
}
