//! How much of the head a lesion mask covers: a mask of the brain that was taken for a lesion's gives itself away.

use anofpdm_common::store::slices::SubjectData;

/// A pixel is of the head when its mean over modalities is above this; 1 is the 99th percentile of a volume, and the
/// noise of air lies below.
const HEAD: f32 = 0.1;

/// A mask over more than this many hundredths of the head is hardly a lesion's: the largest gliomas take a quarter of
/// the brain.
const LARGE: u64 = 33;

/// What a user should know of a mask that covers more than a third of the head; `channels` images a slice.
pub(super) fn notice(data: &SubjectData, channels: usize) -> Option<String> {
    let percent = percent(data, channels)?;
    (percent > LARGE).then(|| {
        format!(
            "its mask covers {percent} % of the head, so it may be one of the brain and not of a lesion"
        )
    })
}

/// Hundredths of the head's pixels that lie under the mask; `None` without a mask or a head.
fn percent(data: &SubjectData, channels: usize) -> Option<u64> {
    let mask = data.mask.as_ref()?;
    let pixels = mask.len().checked_div(data.label.len())?;
    if pixels == 0 || channels == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss)]
    let bound = HEAD * channels as f32;
    let (mut head, mut covered) = (0_u64, 0_u64);
    let slices = data.image.chunks_exact(channels * pixels);
    for (image, mask) in slices.zip(mask.chunks_exact(pixels)) {
        for (pixel, masked) in mask.iter().enumerate() {
            let sum: f32 = image[pixel..].iter().step_by(pixels).sum();
            if sum > bound {
                head += 1;
                covered += u64::from(*masked == 1);
            }
        }
    }
    (covered * 100).checked_div(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anofpdm_common::store::slices::{AxisMap, SourceGrid};

    /// Two slices of two modalities and 16 pixels; eight pixels of each are head, by the mean of both modalities.
    fn data(masked: &[usize]) -> SubjectData {
        let mut image = vec![0.0; 64];
        for pixel in 0..8 {
            image[pixel] = 0.3;
            image[32 + 16 + pixel] = 0.3;
        }
        // Noise of air is no head.
        image[15] = 0.05;
        let mut mask = vec![0; 32];
        for pixel in masked {
            mask[*pixel] = 1;
        }
        SubjectData {
            image,
            label: vec![1, 1],
            mask: Some(mask),
            slice_index: vec![0, 1],
            source: SourceGrid {
                shape: [4, 4, 2],
                affine: [[0.0; 4]; 3],
                axes: [0, 1, 2].map(|axis| AxisMap {
                    axis,
                    flipped: false,
                }),
                canvas: [4, 4],
                padding: [0, 0],
                header: None,
            },
            notices: Vec::new(),
        }
    }

    #[test]
    fn pixels_of_the_head_are_counted() {
        assert_eq!(percent(&data(&[]), 2), Some(0));
        assert_eq!(percent(&data(&[0, 15]), 2), Some(6));
        assert_eq!(percent(&data(&[0, 1, 16, 17]), 2), Some(25));
        assert_eq!(notice(&data(&[0, 1, 2, 16, 17]), 2), None);
        assert_eq!(
            notice(&data(&[0, 1, 2, 16, 17, 18]), 2).unwrap(),
            "its mask covers 37 % of the head, so it may be one of the brain and not of a lesion"
        );
        let unmasked = SubjectData {
            mask: None,
            ..data(&[])
        };
        assert_eq!(percent(&unmasked, 2), None);
        let air = SubjectData {
            image: vec![0.0; 64],
            ..data(&[0])
        };
        assert_eq!(percent(&air, 2), None);
    }
}
