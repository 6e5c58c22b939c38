//! Left and right of a slice exchanged.

use anofpdm_common::store::slices::SliceAxis;

/// Reverses `image`, `[C, H, W]` in row-major order and of this `shape`, along `axis`, in place.
pub(super) fn mirror(image: &mut [f32], shape: [usize; 3], axis: SliceAxis) {
    let [_, height, width] = shape;
    let row = width.max(1);
    match axis {
        SliceAxis::Columns => image.chunks_exact_mut(row).for_each(<[f32]>::reverse),
        SliceAxis::Rows => {
            for channel in image.chunks_exact_mut((height * width).max(1)) {
                let mut rows = channel.chunks_exact_mut(row);
                while let (Some(first), Some(last)) = (rows.next(), rows.next_back()) {
                    first.swap_with_slice(last);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of three rows and two columns.
    #[test]
    fn rows_or_columns_are_reversed_in_every_channel() {
        let slice: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let mirrored = |axis| {
            let mut image = slice.clone();
            mirror(&mut image, [2, 3, 2], axis);
            image
        };
        assert_eq!(
            mirrored(SliceAxis::Rows),
            [4.0, 5.0, 2.0, 3.0, 0.0, 1.0, 10.0, 11.0, 8.0, 9.0, 6.0, 7.0]
        );
        assert_eq!(
            mirrored(SliceAxis::Columns),
            [1.0, 0.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.0, 8.0, 11.0, 10.0]
        );
        for axis in [SliceAxis::Rows, SliceAxis::Columns] {
            let mut twice = mirrored(axis);
            mirror(&mut twice, [2, 3, 2], axis);
            assert_eq!(twice, slice);
            mirror(&mut [], [0, 0, 0], axis);
        }
    }
}
