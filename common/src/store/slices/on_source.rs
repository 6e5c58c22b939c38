//! Back from stored slices to the subject's own grid: resizing, padding, order and sense of the axes undone.

use super::subject_file::SourceGrid;
use crate::resize::Resize;

/// A grid that contradicts itself, or the slices that are to be put on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    #[error("its source axes are no order of three axes")]
    Axes,
    #[error("its canvas is smaller than its slices with their padding")]
    Canvas,
    #[error("its source volume has {0:?} voxels, more than can be written")]
    Size([usize; 3]),
    #[error("slice {slice} is past the end of its source, which has {depth}")]
    Slice { slice: i32, depth: usize },
}

/// Voxels of the largest volume, as `preprocess` reads them.
const MAX_VOXELS: usize = 1 << 28;

impl SourceGrid {
    /// A map of the whole source volume from maps of its slices: bilinear, with the half-pixel centres that the slices
    /// were made with. 0 where there is no slice. First axis of the source fastest.
    ///
    /// `slices` are places along the head axis and values of `size` x `size` pixels.
    ///
    /// # Errors
    /// When the grid contradicts itself or has no such slice.
    pub fn map_on_source(
        &self,
        size: usize,
        slices: &[(i32, Vec<f32>)],
    ) -> Result<Vec<f32>, SourceFault> {
        self.check()?;
        let resize = Resize::<f32>::new([size; 2], self.canvas);
        self.volume(slices, |slice| resize.apply(slice))
    }

    /// The same of masks: each voxel is that of the nearest pixel. Where nothing was resized it is the mask itself.
    ///
    /// # Errors
    /// As [`SourceGrid::map_on_source`].
    pub fn mask_on_source(
        &self,
        size: usize,
        slices: &[(i32, Vec<u8>)],
    ) -> Result<Vec<u8>, SourceFault> {
        self.check()?;
        let [rows, columns] = self.canvas;
        // Of the pixel in whose area the centre lies.
        let nearest = |at: usize, side: usize| ((2 * at + 1) * size / (2 * side)).min(size - 1);
        self.volume(slices, |slice| {
            let line = |row: usize| {
                let from = nearest(row, rows) * size;
                (0..columns).map(move |column| slice[from + nearest(column, columns)])
            };
            (0..rows).flat_map(line).collect()
        })
    }

    fn check(&self) -> Result<(), SourceFault> {
        if (0..3).any(|axis| self.axes.iter().all(|map| map.axis != axis)) {
            return Err(SourceFault::Axes);
        }
        let voxels = self
            .shape
            .iter()
            .try_fold(1_usize, |voxels, side| voxels.checked_mul(*side));
        if voxels.is_none_or(|voxels| voxels == 0 || voxels > MAX_VOXELS) {
            return Err(SourceFault::Size(self.shape));
        }
        let fits = |axis: usize| {
            let side = self.shape[self.axes[axis].axis];
            let end = self.padding[axis].checked_add(side);
            end.is_some_and(|end| end <= self.canvas[axis])
        };
        let small = self.canvas[0]
            .checked_mul(self.canvas[1])
            .is_some_and(|pixels| pixels <= MAX_VOXELS);
        if fits(0) && fits(1) && small {
            Ok(())
        } else {
            Err(SourceFault::Canvas)
        }
    }

    fn volume<T: Copy + Default>(
        &self,
        slices: &[(i32, Vec<T>)],
        canvas_of: impl Fn(&[T]) -> Vec<T>,
    ) -> Result<Vec<T>, SourceFault> {
        let strides = [1, self.shape[0], self.shape[0] * self.shape[1]];
        let side = |axis: usize| self.shape[self.axes[axis].axis];
        let depth = side(2);
        // Where step `at` along oriented axis `axis` lies in the source.
        let offset = |axis: usize, at: usize| {
            let map = self.axes[axis];
            let place = if map.flipped { side(axis) - 1 - at } else { at };
            place * strides[map.axis]
        };
        let mut volume = vec![T::default(); self.shape.iter().product()];
        for (slice, values) in slices {
            let place = usize::try_from(*slice).ok().filter(|place| *place < depth);
            let place = place.ok_or(SourceFault::Slice {
                slice: *slice,
                depth,
            })?;
            let canvas = canvas_of(values);
            for row in 0..side(0) {
                let from = (row + self.padding[0]) * self.canvas[1] + self.padding[1];
                let to = offset(2, place) + offset(0, row);
                for column in 0..side(1) {
                    volume[to + offset(1, column)] = canvas[from + column];
                }
            }
        }
        Ok(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject_file::AxisMap;
    use super::*;

    /// 3 x 5 x 4 voxels; oriented axes are source axes 1, 0, 2, the first and the last running backwards.
    fn grid(canvas: [usize; 2], padding: [usize; 2]) -> SourceGrid {
        let map = |axis, flipped| AxisMap { axis, flipped };
        SourceGrid {
            shape: [3, 5, 4],
            affine: [[0.0; 4]; 3],
            axes: [map(1, true), map(0, false), map(2, true)],
            canvas,
            padding,
            header: None,
        }
    }

    #[test]
    fn what_was_not_resized_comes_back_as_it_was() {
        let grid = grid([5, 5], [0, 1]);
        // Slice 1 of the head axis, row r, column c: 10 r + c + 1 within the padding.
        let slice: Vec<u8> = (0..25).map(|n| (10 * (n / 5) + n % 5) as u8).collect();
        let mask = grid.mask_on_source(5, &[(1, slice.clone())]).unwrap();
        let at = |x: usize, y: usize, z: usize| mask[x + 3 * (y + 5 * z)];
        for y in 0..5 {
            for x in 0..3 {
                assert_eq!(usize::from(at(x, y, 2)), 10 * (4 - y) + x + 1);
                assert_eq!(at(x, y, 1), 0);
            }
        }
        let values: Vec<f32> = slice.iter().map(|x| f32::from(*x)).collect();
        let map = grid.map_on_source(5, &[(1, values)]).unwrap();
        assert!(map.iter().zip(&mask).all(|(a, b)| *a == f32::from(*b)));
    }

    #[test]
    fn a_mask_is_of_the_nearest_pixel_and_a_map_between_two() {
        let grid = grid([5, 5], [0, 1]);
        let mask = grid.mask_on_source(2, &[(3, vec![1, 0, 0, 1])]).unwrap();
        // Rows 0 to 2 of the canvas are of the first pixel's area as far as their centres are: 0.5, 1.5 of 2.5; 2.5 is the border.
        let at = |row: usize, column: usize| mask[column + 3 * (4 - row)];
        assert_eq!([at(0, 0), at(1, 0), at(2, 0), at(4, 0)], [1, 1, 0, 0]);
        assert_eq!([at(0, 2), at(4, 2)], [0, 1]);
        let map = grid
            .map_on_source(2, &[(3, vec![1.0, 0.0, 0.0, 1.0])])
            .unwrap();
        assert!((map[1 + 3 * 2] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn contradictions_are_refused() {
        let slices = [(0, vec![0_u8; 4])];
        let error = |grid: SourceGrid| grid.mask_on_source(2, &slices).unwrap_err();
        let good = grid([5, 5], [0, 1]);
        let mut bad = good.clone();
        bad.axes[0].axis = 2;
        assert_eq!(error(bad), SourceFault::Axes);
        assert_eq!(error(grid([5, 5], [0, 3])), SourceFault::Canvas);
        assert_eq!(error(grid([5, 5], [usize::MAX, 0])), SourceFault::Canvas);
        let mut bad = good.clone();
        bad.shape = [usize::MAX, 2, 2];
        assert!(matches!(error(bad), SourceFault::Size(_)));
        for slice in [4, -1] {
            let fault = good.mask_on_source(2, &[(slice, vec![0; 4])]).unwrap_err();
            assert_eq!(fault, SourceFault::Slice { slice, depth: 4 });
        }
    }
}
