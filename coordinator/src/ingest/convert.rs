//! One subject: from its NIfTI files to the arrays of a slice store.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anofpdm_common::store::slices::{SourceGrid, SubjectData};

use super::canvas::Canvas;
use super::intensities::{Intensities, IntensityError};
use super::labels::{LabelRange, check_range};
use super::layouts::SubjectFiles;
use super::masks::{self, LESION, MaskError};

use super::slices::kept_range;
use super::volume::{Affine, Numbers, Orientation, Oriented, Volume, VolumeError};

#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    #[error("missing modality '{0}'")]
    MissingModality(String),
    #[error(
        "{count} files for '{what}': {first} and {second}; keep one, or give a folder that holds only one"
    )]
    Ambiguous {
        what: String,
        count: usize,
        first: String,
        second: String,
    },
    #[error("no mask, and no row in a labels file (--labels)")]
    NoTruth,
    #[error("the labels file has no row for slice {0}")]
    NoLabel(usize),
    #[error(transparent)]
    Labels(#[from] LabelRange),
    #[error("{file}: {source}")]
    Volume { file: String, source: VolumeError },
    #[error("{file}: shape {found:?} differs from {expected:?} of {first}")]
    Shape {
        file: String,
        found: [usize; 3],
        expected: [usize; 3],
        first: String,
    },
    #[error(
        "{file}: its affine differs from that of {first}: {} and {}; save it with that image's affine if its voxels are the \
         same places (nibabel.Nifti1Image(data, image.affine, image.header)), resample it if they are not",
        Numbers(.found),
        Numbers(.expected)
    )]
    Affine {
        file: String,
        found: Box<Affine>,
        expected: Box<Affine>,
        first: String,
    },
    #[error(
        "{file}: {what}, and {others} other subjects state theirs (e.g. {example}): it may face another way than they do; \
         save it with the affine of the scan that it came from"
    )]
    Unplaced {
        file: String,
        what: &'static str,
        others: usize,
        example: String,
    },
    #[error("{file}: {source}")]
    Intensities {
        file: String,
        source: IntensityError,
    },
    #[error("{file}: {source}")]
    Mask { file: String, source: MaskError },
    #[error(
        "every slice is empty: the sum over its pixels is at most half the 99th percentile ({0})"
    )]
    NoSlice(String),
}

#[derive(Debug, Clone)]
pub struct Conversion {
    /// Channel order.
    pub modalities: Vec<String>,
    pub size: usize,
    pub orientation: Orientation,
    pub pad: bool,
}

/// The one file for each thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFiles {
    /// In channel order.
    pub images: Vec<PathBuf>,
    pub mask: Option<PathBuf>,
}

impl ChosenFiles {
    /// Chooses among the files of a subject.
    pub fn new(files: &SubjectFiles, modalities: &[String]) -> Result<Self, SkipReason> {
        let images = modalities
            .iter()
            .map(|modality| {
                let paths = files.images.get(modality).map_or(&[][..], Vec::as_slice);
                single(modality, paths)?
                    .ok_or_else(|| SkipReason::MissingModality(modality.clone()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            images,
            mask: single("mask", &files.masks)?,
        })
    }
}

fn single(what: &str, paths: &[PathBuf]) -> Result<Option<PathBuf>, SkipReason> {
    match paths {
        [] => Ok(None),
        [path] => Ok(Some(path.clone())),
        [first, second, ..] => Err(SkipReason::Ambiguous {
            what: what.to_owned(),
            count: paths.len(),
            first: apart(first, second),
            second: apart(second, first),
        }),
    }
}

/// A path from where it begins to differ from another one.
fn apart(path: &Path, other: &Path) -> String {
    let common = path
        .components()
        .zip(other.components())
        .take_while(|(a, b)| a == b)
        .count();
    let rest: PathBuf = path.components().skip(common).collect();
    rest.to_string_lossy().into_owned()
}

/// Converts a subject. `labels` are used where there is no mask.
///
/// What the user should know of a subject that is converted all the same stands in its `notices`.
pub fn convert(
    conversion: &Conversion,
    files: &ChosenFiles,
    labels: Option<&BTreeMap<usize, u8>>,
) -> Result<SubjectData, SkipReason> {
    if files.mask.is_none() && labels.is_none() {
        return Err(SkipReason::NoTruth);
    }
    let volumes = read_images(&files.images)?;
    let names: Vec<String> = files.images.iter().map(|path| file_name(path)).collect();
    let mut notices = Vec::new();
    let mut divisors = Vec::with_capacity(volumes.len());
    for (volume, file) in volumes.iter().zip(&names) {
        let found = Intensities::of(&volume.values, volume.shape).map_err(|source| {
            SkipReason::Intensities {
                file: file.clone(),
                source,
            }
        })?;
        divisors.push(found.divisor);
        notices.extend(found.notice.map(|notice| format!("{file}: {notice}")));
    }
    let mask = files
        .mask
        .as_deref()
        .map(|path| read_mask(path, &volumes, &divisors, &files.images))
        .transpose()?;
    let views: Vec<Oriented<'_>> = volumes
        .iter()
        .map(|volume| volume.oriented(conversion.orientation))
        .collect();
    let Some((first, source)) = views.first().zip(volumes.first()) else {
        return Err(SkipReason::MissingModality("any".to_owned()));
    };

    if let Some(labels) = labels {
        check_range(labels, first.shape[2])?;
    }
    let sums: Vec<f64> = (0..first.shape[2])
        .map(|z| modality_mean_sum(&views, &divisors, z))
        .collect();
    let kept = kept_range(&sums).ok_or_else(|| SkipReason::NoSlice(names.join(", ")))?;
    let canvas = Canvas::new(
        [first.shape[0], first.shape[1]],
        conversion.pad,
        conversion.size,
    );

    let mut image = Vec::new();
    for z in kept.clone() {
        for (view, divisor) in views.iter().zip(&divisors) {
            #[allow(clippy::cast_possible_truncation)]
            image.extend(
                canvas
                    .image(view.slice(z).map(|x| x / divisor))
                    .into_iter()
                    .map(|x| x as f32),
            );
        }
    }
    let (label, mask) = match &mask {
        Some(mask) => {
            let view = mask.oriented(conversion.orientation);
            let slices: Vec<Vec<u8>> = kept.clone().map(|z| canvas.mask(view.slice(z))).collect();
            let label: Vec<u8> = slices
                .iter()
                .map(|slice| u8::from(slice.contains(&1)))
                .collect();
            let file = files.mask.as_deref().map(file_name).unwrap_or_default();
            notices.extend(
                lost_lesions(&view, &kept, &label, conversion.size)
                    .into_iter()
                    .map(|notice| format!("{file}: {notice}")),
            );
            (label, Some(slices.concat()))
        }
        None => {
            let label = |z| {
                labels
                    .and_then(|labels| labels.get(&z))
                    .copied()
                    .ok_or(SkipReason::NoLabel(z))
            };
            (kept.clone().map(label).collect::<Result<_, _>>()?, None)
        }
    };
    Ok(SubjectData {
        image,
        label,
        mask,
        // A NIfTI-1 axis has fewer than 2^16 voxels.
        notices,
        slice_index: kept.map(|z| i32::try_from(z).unwrap_or(i32::MAX)).collect(),
        source: SourceGrid {
            shape: source.shape,
            affine: source.affine,
            axes: first.axes,
            canvas: canvas.sides,
            padding: canvas.padding,
            header: source.header.beyond(&source.affine),
        },
    })
}

/// Lesions of the mask that no stored slice shows: on slices that are empty in the images, or too small.
fn lost_lesions(
    mask: &Oriented<'_>,
    kept: &RangeInclusive<usize>,
    label: &[u8],
    size: usize,
) -> Vec<String> {
    let drawn: Vec<(usize, usize)> = (0..mask.shape[2])
        .map(|z| (z, mask.slice(z).filter(|x| *x > LESION).count()))
        .filter(|(_, voxels)| *voxels > 0)
        .collect();
    let (inside, outside): (Vec<_>, Vec<_>) =
        drawn.into_iter().partition(|(z, _)| kept.contains(z));
    let voxels = |slices: &[(usize, usize)]| slices.iter().map(|(_, n)| n).sum::<usize>();
    let mut notices = Vec::new();
    if let (Some((first, _)), Some((last, _))) = (outside.first(), outside.last()) {
        notices.push(format!(
            "lesion slices left out, since the images are empty there: {} ({} voxels, in slices {first} to {last} from 0); \
             slices {} to {} are kept; is the mask at its place?",
            outside.len(),
            voxels(&outside),
            kept.start(),
            kept.end(),
        ));
    }
    if !inside.is_empty() && !label.contains(&1) {
        notices.push(format!(
            "its lesion (slices: {}, voxels: {}) is too small for {size} x {size} pixels and vanishes: the subject counts as \
             healthy; preprocess with a larger --size",
            inside.len(),
            voxels(&inside),
        ));
    }
    notices
}

/// Sum over the pixels of slice `z` of the mean over modalities.
fn modality_mean_sum(views: &[Oriented<'_>], divisors: &[f64], z: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let count = views.len() as f64;
    let sum: f64 = views
        .iter()
        .zip(divisors)
        .map(|(view, divisor)| view.slice(z).map(|x| x / divisor).sum::<f64>())
        .sum();
    sum / count
}

fn read_images(paths: &[PathBuf]) -> Result<Vec<Volume>, SkipReason> {
    let mut volumes: Vec<Volume> = Vec::with_capacity(paths.len());
    for path in paths {
        volumes.push(read_beside(path, &volumes, paths)?);
    }
    Ok(volumes)
}

/// Reads a volume that must lie on the grid of the first of `others`.
fn read_beside(path: &Path, others: &[Volume], paths: &[PathBuf]) -> Result<Volume, SkipReason> {
    let volume = Volume::read(path).map_err(|source| SkipReason::Volume {
        file: file_name(path),
        source,
    })?;
    let (Some(expected), Some(first)) = (others.first(), paths.first()) else {
        return Ok(volume);
    };
    if let Some(axes) = expected.grid().found_in(&volume.grid()) {
        return Ok(volume.reordered(axes, expected.affine));
    }
    let sorted = |mut shape: [usize; 3]| {
        shape.sort_unstable();
        shape
    };
    let (file, first) = (file_name(path), file_name(first));
    Err(if sorted(volume.shape) == sorted(expected.shape) {
        SkipReason::Affine {
            file,
            found: Box::new(volume.affine),
            expected: Box::new(expected.affine),
            first,
        }
    } else {
        SkipReason::Shape {
            file,
            found: volume.shape,
            expected: expected.shape,
            first,
        }
    })
}

/// Reads the mask that lies on the grid of `images`.
fn read_mask(
    path: &Path,
    images: &[Volume],
    divisors: &[f64],
    paths: &[PathBuf],
) -> Result<Volume, SkipReason> {
    let mask = read_beside(path, images, paths)?;
    let names: Vec<String> = paths.iter().map(|path| file_name(path)).collect();
    let images: Vec<(&str, &Volume, f64)> = names
        .iter()
        .zip(images)
        .zip(divisors)
        .map(|((name, image), divisor)| (name.as_str(), image, *divisor))
        .collect();
    masks::check(&mask, &images).map_err(|source| SkipReason::Mask {
        file: file_name(path),
        source,
    })?;
    Ok(mask)
}

/// The last part of a path, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
