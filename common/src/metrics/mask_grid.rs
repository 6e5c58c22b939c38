//! The grid that masks lie on: a slice (N = 2) or a volume (N = 3).

/// Sides and spacing, the last axis fastest in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskGrid<const N: usize> {
    /// Pixels along each axis.
    pub sides: [usize; N],
    /// Distance of neighbours along each axis, above 0: millimetres, or 1 for pixels.
    pub spacing: [f64; N],
}

impl MaskGrid<2> {
    /// A slice of `height` x `width` pixels with a spacing of 1.
    pub const fn slice(height: usize, width: usize) -> Self {
        Self {
            sides: [height, width],
            spacing: [1.0; 2],
        }
    }
}

impl<const N: usize> MaskGrid<N> {
    /// Pixels of a mask on this grid.
    pub fn pixels(&self) -> usize {
        self.sides.iter().product()
    }

    /// How far apart in memory neighbours along each axis are.
    pub(super) fn strides(&self) -> [usize; N] {
        let mut stride = 1;
        let mut strides = [0; N];
        for axis in (0..N).rev() {
            strides[axis] = stride;
            stride *= self.sides[axis];
        }
        strides
    }

    /// Place of a pixel along each axis.
    pub(super) fn place(&self, mut index: usize) -> [usize; N] {
        let mut place = [0; N];
        for axis in (0..N).rev() {
            place[axis] = index % self.sides[axis];
            index /= self.sides[axis];
        }
        place
    }

    /// # Panics
    /// When `mask` does not hold a value for every pixel of the grid.
    pub(super) fn check(&self, mask: &[u8]) {
        assert_eq!(
            mask.len(),
            self.pixels(),
            "a mask of another size than its grid. This is a bug."
        );
    }

    /// Pixels beside each other in memory.
    pub(super) fn row(&self) -> usize {
        self.sides[N - 1]
    }

    /// The smallest box that holds all of `places`, as its first place and its grid; `None` without any.
    pub(super) fn bounds<'a>(
        &self,
        places: impl IntoIterator<Item = &'a [usize; N]>,
    ) -> Option<([usize; N], Self)> {
        let mut low = [usize::MAX; N];
        let mut high = [0; N];
        for place in places {
            for axis in 0..N {
                low[axis] = low[axis].min(place[axis]);
                high[axis] = high[axis].max(place[axis]);
            }
        }
        let sides = || std::array::from_fn(|axis| high[axis] - low[axis] + 1);
        (low[0] != usize::MAX).then(|| {
            let within = Self {
                sides: sides(),
                spacing: self.spacing,
            };
            (low, within)
        })
    }
}

/// Whether no pixel is set: without a branch for each, since most rows of a mask are empty.
pub(super) fn is_empty(pixels: &[u8]) -> bool {
    pixels.iter().fold(0, |all, pixel| all | pixel) == 0
}
