//! Whether a volume that is taken for a lesion mask is one: whole-number labels, 0 where there is no lesion.

use std::collections::HashSet;

use super::intensities::short;
use super::volume::Volume;

/// Label values above this are lesion.
pub const LESION: f64 = 0.5;

/// How far a label may be from a whole number: 0.9999 comes from scaled storage, 0.99 does not.
const WHOLE: f64 = 1e-3;

/// More labels than any lesion mask has; images have hundreds of values.
const MANY_LABELS: usize = 64;

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum MaskError {
    #[error(
        "below 0 in {count} of {voxels} voxels (down to {}); a mask is 0 outside the lesion and a positive label within{}",
        short(*.lowest),
        left_over(*.scaling)
    )]
    Negative {
        count: usize,
        voxels: usize,
        lowest: f64,
        scaling: Option<[f64; 2]>,
    },
    #[error(
        "{count} of the {labelled} voxels that are not 0 hold no whole number (e.g. {}); a probability or an \
         interpolated mask is made one of labels first: (data > 0.5).astype(numpy.uint8){}",
        short(*.example),
        left_over(*.scaling)
    )]
    NotWhole {
        count: usize,
        labelled: usize,
        example: f64,
        scaling: Option<[f64; 2]>,
    },
    #[error(
        "not 0 in {labelled} of {voxels} voxels and above {LESION} in none (up to {}), so nothing would be lesion{}",
        short(*.highest),
        left_over(*.scaling)
    )]
    NothingAbove {
        labelled: usize,
        voxels: usize,
        highest: f64,
        scaling: Option<[f64; 2]>,
    },
    #[error("its voxels are those of {0}; give the lesion mask")]
    Copy(String),
    #[error(
        "it has {labels} different values above 0 and covers {percent:.0} % of the head: an image or an atlas, no lesion mask"
    )]
    Image { labels: usize, percent: f64 },
    #[error(
        "it has {labels} different values above 0, in {percent:.0} % of its voxels: an image or an atlas, no lesion mask"
    )]
    ImageAlone { labels: usize, percent: f64 },
}

/// The cure where the header scales whole numbers to others.
fn left_over(scaling: Option<[f64; 2]>) -> String {
    scaling.map_or_else(String::new, |[slope, intercept]| {
        format!(
            "; its header scales what is stored by {} and adds {}, left over from an image? Save the mask \
             without: set_slope_inter(1, 0)",
            short(slope),
            short(intercept)
        )
    })
}

/// Share of a volume that no lesions cover: with many labels it is an image or an atlas.
const MUCH: f64 = 0.1;

/// Checks that `mask` is one, where no image is at hand.
pub fn check_alone(mask: &Volume) -> Result<(), MaskError> {
    check(mask, &[])?;
    let mut labels = HashSet::new();
    let mut labelled = 0_usize;
    for label in mask.values.iter().filter(|label| **label > LESION) {
        labels.insert(label.round().to_bits());
        labelled += 1;
    }
    #[allow(clippy::cast_precision_loss)]
    let share = labelled as f64 / mask.values.len() as f64;
    if labels.len() > MANY_LABELS && share > MUCH {
        return Err(MaskError::ImageAlone {
            labels: labels.len(),
            percent: 100.0 * share,
        });
    }
    Ok(())
}

/// Checks that `mask` is one. `images` are those it is drawn on, with their names and divisors.
pub fn check(mask: &Volume, images: &[(&str, &Volume, f64)]) -> Result<(), MaskError> {
    let scaling = mask.scaling.filter(|scaling| *scaling != [1.0, 0.0]);
    let values = &mask.values;
    let labelled = values.iter().filter(|x| **x != 0.0).count();
    let lowest = values.iter().copied().fold(0.0, f64::min);
    if lowest < -WHOLE {
        return Err(MaskError::Negative {
            count: values.iter().filter(|x| **x < -WHOLE).count(),
            voxels: values.len(),
            lowest,
            scaling,
        });
    }
    if let Some((name, _, _)) = images.iter().find(|(_, image, _)| image.values == *values) {
        return Err(MaskError::Copy((*name).to_owned()));
    }
    let broken = |x: &&f64| (**x - x.round()).abs() > WHOLE;
    if let Some(example) = values.iter().find(broken) {
        return Err(MaskError::NotWhole {
            count: values.iter().filter(broken).count(),
            labelled,
            example: *example,
            scaling,
        });
    }
    let highest = values.iter().copied().fold(0.0, f64::max);
    if labelled > 0 && highest <= LESION {
        return Err(MaskError::NothingAbove {
            labelled,
            voxels: values.len(),
            highest,
            scaling,
        });
    }
    match images.first() {
        Some((_, image, divisor)) => check_extent(values, &image.values, *divisor),
        None => Ok(()),
    }
}

/// A set of labels that an image has, over most of the head.
fn check_extent(mask: &[f64], image: &[f64], divisor: f64) -> Result<(), MaskError> {
    /// Values below this, in parts of the divisor, are air.
    const AIR: f64 = 0.1;
    let mut labels = HashSet::new();
    let (mut head, mut covered) = (0_usize, 0_usize);
    for (label, value) in mask.iter().zip(image) {
        if *label > LESION {
            labels.insert(label.round().to_bits());
        }
        if value / divisor > AIR {
            head += 1;
            covered += usize::from(*label > LESION);
        }
    }
    if labels.len() > MANY_LABELS && 2 * covered > head {
        #[allow(clippy::cast_precision_loss)]
        let percent = 100.0 * covered as f64 / head as f64;
        return Err(MaskError::Image {
            labels: labels.len(),
            percent,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::volume::IDENTITY;
    use super::*;
    use anofpdm_common::store::slices::SourceHeader;

    fn volume(values: Vec<f64>) -> Volume {
        Volume {
            shape: [values.len(), 1, 1],
            affine: IDENTITY,
            header: SourceHeader::plain(&IDENTITY),
            scaling: None,
            values,
        }
    }

    /// A head of 150 voxels of 10 to 159, then 50 of air.
    fn image() -> Volume {
        volume(
            (0..200_u8)
                .map(|n| if n < 150 { f64::from(n) + 10.0 } else { 0.0 })
                .collect(),
        )
    }

    /// Two voxels of these values, the others 0.
    fn lesion(first: f64, second: f64) -> Volume {
        let mut values = vec![0.0; 200];
        (values[3], values[4]) = (first, second);
        volume(values)
    }

    fn check_one(mask: &Volume) -> Result<(), MaskError> {
        let image = image();
        check(mask, &[("t1.nii", &image, 158.0)])
    }

    #[test]
    fn labels_are_masks() {
        for (first, second) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (255.0, 0.0),
            (1.0, 4.0),
            (0.9999, 1.0001),
            (2.0, 1e-4),
            (-1e-4, 1.0),
        ] {
            assert_eq!(
                check_one(&lesion(first, second)),
                Ok(()),
                "{first} {second}"
            );
        }
        // A number for each lesion is as good, and so is a lesion that fills the head.
        let mut many = vec![0.0; 200];
        for (number, voxel) in (1_u8..).zip(many.iter_mut().take(70)) {
            *voxel = f64::from(number);
        }
        assert_eq!(check_one(&volume(many)), Ok(()));
        assert_eq!(check_one(&volume(vec![1.0; 200])), Ok(()));
    }

    #[test]
    fn what_is_no_label_is_named() {
        for (first, second, message) in [
            (
                0.5,
                0.0,
                "1 of the 1 voxels that are not 0 hold no whole number (e.g. 0.5)",
            ),
            (
                0.4,
                1.0,
                "1 of the 2 voxels that are not 0 hold no whole number (e.g. 0.4)",
            ),
            (
                0.99,
                0.7,
                "2 of the 2 voxels that are not 0 hold no whole number (e.g. 0.99)",
            ),
            (
                0.001,
                0.0005,
                "not 0 in 2 of 200 voxels and above 0.5 in none (up to 0.001)",
            ),
            (-1.0, 1.0, "below 0 in 1 of 200 voxels (down to -1)"),
            (
                -1024.0,
                -1024.0,
                "below 0 in 2 of 200 voxels (down to -1024)",
            ),
        ] {
            let error = check_one(&lesion(first, second)).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains("header"), "{error}");
        }
    }

    #[test]
    fn a_slope_that_an_image_left_is_named() {
        for slope in [1.0 / 255.0, 1.0 / 65535.0] {
            let mask = Volume {
                scaling: Some([slope, 0.0]),
                ..lesion(slope, slope)
            };
            let error = check_one(&mask).unwrap_err().to_string();
            assert!(
                error.contains("its header scales what is stored by "),
                "{error}"
            );
            assert!(error.ends_with("set_slope_inter(1, 0)"), "{error}");
        }
        // 0 and 255 with 1/255 are 0 and 1.
        let mask = Volume {
            scaling: Some([1.0 / 255.0, 0.0]),
            ..lesion(1.0, 1.0)
        };
        assert_eq!(check_one(&mask), Ok(()));
    }

    #[test]
    fn an_image_is_no_mask() {
        assert_eq!(
            check_one(&image()),
            Err(MaskError::Copy("t1.nii".to_owned()))
        );
        let other = volume(image().values.iter().map(|x| x * 3.0).collect());
        let error = check_one(&other).unwrap_err().to_string();
        assert_eq!(
            error,
            "it has 150 different values above 0 and covers 100 % of the head: an image or an atlas, no lesion mask"
        );
    }
}
