//! How much of the head a lesion mask covers: a mask of the brain that was taken for a lesion's gives itself away.

use super::writer::SubjectData;

/// A pixel is of the head when its mean over modalities is above this; 1 is the 99th percentile of a volume, and the
/// noise of air lies below.
const HEAD: f32 = 0.1;

/// Thousandths of the head's pixels that lie under the mask; 0 without a mask or a head.
pub(super) fn permille(data: &SubjectData, channels: usize) -> u32 {
    let (Some(mask), slices) = (&data.mask, data.label.len()) else {
        return 0;
    };
    let pixels = mask.len() / slices.max(1);
    if pixels == 0 || data.image.len() != slices * channels * pixels {
        return 0;
    }
    #[allow(clippy::cast_precision_loss)]
    let bound = HEAD * channels as f32;
    let (mut head, mut covered) = (0_u64, 0_u64);
    for (image, mask) in data
        .image
        .chunks_exact(channels * pixels)
        .zip(mask.chunks_exact(pixels))
    {
        for (pixel, masked) in mask.iter().enumerate() {
            let sum: f32 = image[pixel..].iter().step_by(pixels).sum();
            if sum > bound {
                head += 1;
                covered += u64::from(*masked == 1);
            }
        }
    }
    u32::try_from(covered * 1000 / head.max(1)).unwrap_or(1000)
}
