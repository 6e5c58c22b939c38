//! From a slice of an oriented volume to a stored one: padded, then resized.

use anofpdm_common::resize::Resize;
use anofpdm_common::store::slices::SourceGrid;

use super::masks::LESION;

/// Of one volume.
pub(crate) struct Canvas {
    /// Rows and columns of an oriented slice.
    slice: [usize; 2],
    /// The same after padding.
    pub(crate) sides: [usize; 2],
    /// Rows and columns of padding before the first.
    pub(crate) padding: [usize; 2],
    image: Resize<f64>,
    mask: Resize<f32>,
}

impl Canvas {
    /// For slices of `slice` rows and columns, padded to squares where that is asked for, and a side of `size` pixels.
    pub(crate) fn new(slice: [usize; 2], pad: bool, size: usize) -> Self {
        let sides = if pad {
            [slice[0].max(slice[1]); 2]
        } else {
            slice
        };
        let padding = [0, 1].map(|axis| (sides[axis] - slice[axis]) / 2);
        Self::of(slice, sides, padding, size)
    }

    /// That of a subject of a store; `None` where it is not for slices of `slice` rows and columns.
    pub(crate) fn of_stored(slice: [usize; 2], source: &SourceGrid, size: usize) -> Option<Self> {
        let fits = |axis: usize| {
            slice[axis].checked_add(source.padding[axis]) <= Some(source.canvas[axis])
        };
        (fits(0) && fits(1)).then(|| Self::of(slice, source.canvas, source.padding, size))
    }

    fn of(slice: [usize; 2], sides: [usize; 2], padding: [usize; 2], size: usize) -> Self {
        let output = [size; 2];
        Self {
            slice,
            sides,
            padding,
            image: Resize::new(sides, output),
            mask: Resize::new(sides, output),
        }
    }

    /// Values, antialiased where pixels are fewer than voxels.
    pub(crate) fn image(&self, slice: impl Iterator<Item = f64>) -> Vec<f64> {
        self.image.apply(&self.padded(slice, 0.0))
    }

    /// Pixels of which the larger part is above [`LESION`].
    pub(crate) fn mask(&self, slice: impl Iterator<Item = f64>) -> Vec<u8> {
        let binary = slice.map(|x| if x > LESION { 1.0 } else { 0.0 });
        let resized = self.mask.apply(&self.padded(binary, 0.0));
        resized
            .into_iter()
            .map(|x| u8::from(f64::from(x) > LESION))
            .collect()
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
