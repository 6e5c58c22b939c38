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

    /// The smallest box that holds all set pixels of `masks`, as first place and sides; `None` where none is set.
    pub(super) fn bounds(&self, masks: [&[u8]; 2]) -> Option<([usize; N], [usize; N])> {
        let mut low = [usize::MAX; N];
        let mut high = [0; N];
        let mut include = |place: [usize; N]| {
            for (axis, at) in place.into_iter().enumerate() {
                low[axis] = low[axis].min(at);
                high[axis] = high[axis].max(at);
            }
        };
        let row = self.row().max(1);
        for mask in masks {
            for (number, pixels) in mask.chunks(row).enumerate() {
                // Most rows are empty, which a sum without a branch tells soonest.
                if pixels.iter().fold(0, |all, pixel| all | pixel) == 0 {
                    continue;
                }
                let set = |pixel: &u8| *pixel != 0;
                if let Some(first) = pixels.iter().position(set) {
                    let last = pixels.iter().rposition(set).unwrap_or(first);
                    include(self.place(number * row + first));
                    include(self.place(number * row + last));
                }
            }
        }
        (low[0] != usize::MAX)
            .then(|| (low, std::array::from_fn(|axis| high[axis] - low[axis] + 1)))
    }
}
