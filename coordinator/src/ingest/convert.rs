//! One subject: from its NIfTI files to the arrays of a slice store (SCIENCE 8).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anofpdm_common::store::slices::{SourceGrid, SubjectData};

use super::labels::{LabelRange, check_range};
use super::layouts::SubjectFiles;
use super::percentile::positive_percentile;
use super::resize::Resize;
use super::slices::kept_range;
use super::volume::{Orientation, Oriented, Volume, VolumeError};

/// Volumes are divided by this percentile of their values above 0.
const PERCENT: f64 = 99.0;

/// Label values above this are lesion, before and after resizing.
const LESION: f32 = 0.5;

/// Affines of one subject may differ by this much, in millimetres: what rounding in different programs leaves.
const AFFINE_TOLERANCE: f64 = 1e-2;

/// Why a subject is skipped.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    /// A modality that was asked for is absent.
    #[error("missing modality '{0}'")]
    MissingModality(String),
    /// Two files claim to be the same thing.
    #[error(
        "{count} files for '{what}': {first} and {second}; keep one, or give a folder that holds only one"
    )]
    Ambiguous {
        /// Modality or mask.
        what: String,
        /// How many.
        count: usize,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// Neither mask nor labels.
    #[error("no mask, and no row in a labels file (--labels)")]
    NoTruth,
    /// A kept slice without a label.
    #[error("the labels file has no row for slice {0}")]
    NoLabel(usize),
    /// Labels that are not of this volume.
    #[error("{0}")]
    Labels(#[from] LabelRange),
    /// A file cannot be used.
    #[error("{file}: {source}")]
    Volume {
        /// Name of the file.
        file: String,
        /// Why.
        source: VolumeError,
    },
    /// Volumes of different shapes.
    #[error("{file}: shape {found:?} differs from {expected:?} of {first}")]
    Shape {
        /// Name of the file.
        file: String,
        /// Its shape.
        found: [usize; 3],
        /// Shape of the first modality.
        expected: [usize; 3],
        /// File of the first modality.
        first: String,
    },
    /// Volumes on different grids.
    #[error("{file}: its affine differs from that of {first}")]
    Affine {
        /// Name of the file.
        file: String,
        /// File of the first modality.
        first: String,
    },
    /// Nothing above 0.
    #[error("{0}: no voxel is above 0")]
    NoPositive(String),
    /// No slice holds a head.
    #[error("every slice is empty")]
    NoSlice,
}

/// How subjects are converted.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Channel order.
    pub modalities: Vec<String>,
    /// Side of the stored slices.
    pub size: usize,
    /// Axes of the stored slices.
    pub orientation: Orientation,
    /// Pad slices to a square before resizing.
    pub pad: bool,
}

/// The one file for each thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFiles {
    /// In channel order.
    pub images: Vec<PathBuf>,
    /// Where there is one.
    pub mask: Option<PathBuf>,
}

impl ChosenFiles {
    /// Chooses among the files of a subject.
    ///
    /// # Errors
    /// When a modality is absent or there are two files for one thing.
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
/// # Errors
/// [`SkipReason`].
pub fn convert(
    conversion: &Conversion,
    files: &ChosenFiles,
    labels: Option<&BTreeMap<usize, u8>>,
) -> Result<SubjectData, SkipReason> {
    if files.mask.is_none() && labels.is_none() {
        return Err(SkipReason::NoTruth);
    }
    let volumes = read_images(&files.images)?;
    let mask = files
        .mask
        .as_deref()
        .map(|path| read_beside(path, &volumes, &files.images))
        .transpose()?;
    let divisors = volumes
        .iter()
        .zip(&files.images)
        .map(|(volume, path)| {
            positive_percentile(&volume.values, PERCENT)
                .ok_or_else(|| SkipReason::NoPositive(file_name(path)))
        })
        .collect::<Result<Vec<_>, _>>()?;
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
    let kept = kept_range(&sums).ok_or(SkipReason::NoSlice)?;
    let canvas = Canvas::new([first.shape[0], first.shape[1]], conversion);

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
            let label = slices
                .iter()
                .map(|slice| u8::from(slice.contains(&1)))
                .collect();
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
        slice_index: kept.map(|z| i32::try_from(z).unwrap_or(i32::MAX)).collect(),
        source: SourceGrid {
            shape: source.shape,
            affine: source.affine,
            axes: first.axes,
            canvas: canvas.sides,
            padding: canvas.padding,
        },
    })
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

/// From an oriented slice to a stored one.
struct Canvas {
    slice: [usize; 2],
    sides: [usize; 2],
    padding: [usize; 2],
    image: Resize<f64>,
    mask: Resize<f32>,
}

impl Canvas {
    fn new(slice: [usize; 2], conversion: &Conversion) -> Self {
        let sides = if conversion.pad {
            [slice[0].max(slice[1]); 2]
        } else {
            slice
        };
        let output = [conversion.size; 2];
        Self {
            slice,
            sides,
            padding: [0, 1].map(|axis| (sides[axis] - slice[axis]) / 2),
            image: Resize::new(sides, output),
            mask: Resize::new(sides, output),
        }
    }

    fn image(&self, slice: impl Iterator<Item = f64>) -> Vec<f64> {
        self.image.apply(&self.padded(slice, 0.0))
    }

    fn mask(&self, slice: impl Iterator<Item = f64>) -> Vec<u8> {
        let binary = slice.map(|x| if x > f64::from(LESION) { 1.0 } else { 0.0 });
        let resized = self.mask.apply(&self.padded(binary, 0.0));
        resized.into_iter().map(|x| u8::from(x > LESION)).collect()
    }

    fn padded<T: Copy>(&self, slice: impl Iterator<Item = T>, empty: T) -> Vec<T> {
        let mut canvas = vec![empty; self.sides[0] * self.sides[1]];
        for (index, value) in slice.enumerate() {
            let row = index / self.slice[1] + self.padding[0];
            let column = index % self.slice[1] + self.padding[1];
            canvas[row * self.sides[1] + column] = value;
        }
        canvas
    }
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
    if volume.shape != expected.shape {
        return Err(SkipReason::Shape {
            file: file_name(path),
            found: volume.shape,
            expected: expected.shape,
            first: file_name(first),
        });
    }
    let pairs = volume
        .affine
        .iter()
        .flatten()
        .zip(expected.affine.iter().flatten());
    if pairs
        .into_iter()
        .any(|(a, b)| (a - b).abs() > AFFINE_TOLERANCE)
    {
        return Err(SkipReason::Affine {
            file: file_name(path),
            first: file_name(first),
        });
    }
    Ok(volume)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
