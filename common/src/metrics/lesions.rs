//! Lesion-wise detection: how many lesions a mask finds, and how many it makes up.

use serde::{Deserialize, Serialize};

use super::mask_grid::MaskGrid;

/// Lesions of one slice or volume, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LesionCounts {
    /// Lesions of the truth.
    pub truth: u64,
    /// Of these, with a pixel in the prediction.
    pub found: u64,
    /// Components of the prediction.
    pub predicted: u64,
    /// Of these, without a pixel in the truth.
    pub spurious: u64,
}

impl LesionCounts {
    /// Counts the components of two masks (any value but 0 is set), which connect over sides, edges and corners (8
    /// neighbours in a slice, 26 in a volume). A lesion is found when at least one of its pixels is predicted.
    ///
    /// Components of fewer than `minimum` pixels do not count: those of the truth need not be found, and a component of
    /// the prediction on one of them is not spurious.
    ///
    /// # Panics
    /// When a mask does not hold a value for every pixel of the grid.
    pub fn count<const N: usize>(
        predicted: &[u8],
        truth: &[u8],
        grid: &MaskGrid<N>,
        minimum: usize,
    ) -> Self {
        grid.check(predicted);
        grid.check(truth);
        let mut counts = Self::default();
        each_component(truth, grid, |lesion| {
            if lesion.len() >= minimum {
                counts.truth += 1;
                counts.found += u64::from(lesion.iter().any(|pixel| predicted[*pixel] != 0));
            }
        });
        each_component(predicted, grid, |component| {
            if component.len() >= minimum {
                counts.predicted += 1;
                counts.spurious += u64::from(component.iter().all(|pixel| truth[*pixel] == 0));
            }
        });
        counts
    }

    pub fn add(&mut self, other: Self) {
        self.truth += other.truth;
        self.found += other.found;
        self.predicted += other.predicted;
        self.spurious += other.spurious;
    }

    /// 2 found / (2 found + missed + spurious); `None` where there is neither a lesion nor a spurious component.
    pub fn f1(self) -> Option<f64> {
        let (hits, all) = self.f1_terms();
        (all > 0).then(|| hits as f64 / all as f64)
    }

    /// Numerator and denominator of [`Self::f1`].
    pub fn f1_terms(self) -> (u64, u64) {
        let missed = self.truth - self.found.min(self.truth);
        (2 * self.found, 2 * self.found + missed + self.spurious)
    }
}

/// Hands over the pixels of each component, in the order in which a walk through memory meets them.
fn each_component<const N: usize>(
    mask: &[u8],
    grid: &MaskGrid<N>,
    mut component: impl FnMut(&[usize]),
) {
    let strides = grid.strides();
    let neighbours = 3_usize.pow(u32::try_from(N).unwrap_or(0));
    let mut left: Vec<bool> = mask.iter().map(|pixel| *pixel != 0).collect();
    let mut pixels = Vec::new();
    let mut from = 0;
    while let Some(ahead) = left[from..].iter().position(|set| *set) {
        let start = from + ahead;
        from = start + 1;
        left[start] = false;
        pixels.clear();
        pixels.push(start);
        let mut next = 0;
        while let Some(pixel) = pixels.get(next).copied() {
            next += 1;
            let place = grid.place(pixel);
            for code in 0..neighbours {
                if let Some(near) = neighbour(place, code, grid, strides)
                    && left[near]
                {
                    left[near] = false;
                    pixels.push(near);
                }
            }
        }
        component(&pixels);
    }
}

/// The neighbour of `place` whose steps along the axes are the digits of `code` in base 3, less 1; `None` beyond the grid.
fn neighbour<const N: usize>(
    place: [usize; N],
    mut code: usize,
    grid: &MaskGrid<N>,
    strides: [usize; N],
) -> Option<usize> {
    let mut index = 0;
    for axis in 0..N {
        let at = (place[axis] + code % 3).checked_sub(1)?;
        code /= 3;
        if at >= grid.sides[axis] {
            return None;
        }
        index += at * strides[axis];
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::super::test_masks::{SLICE, VOLUME, slices, volumes};
    use super::*;

    fn counts([truth, found, predicted, spurious]: [u64; 4]) -> LesionCounts {
        LesionCounts {
            truth,
            found,
            predicted,
            spurious,
        }
    }

    /// scipy 1.17.1 `label` with a structure of ones.
    #[test]
    fn they_are_those_of_scipy() {
        let [a, b] = volumes();
        let count = |predicted: &[u8], truth: &[u8], minimum| {
            LesionCounts::count(predicted, truth, &VOLUME, minimum)
        };
        assert_eq!(count(&b, &a, 1), counts([4, 2, 4, 2]));
        assert_eq!(count(&b, &a, 3), counts([3, 2, 3, 1]));
        let [a, b] = slices();
        assert_eq!(LesionCounts::count(&b, &a, &SLICE, 1), counts([4, 2, 4, 2]));
    }

    #[test]
    fn corners_connect_and_the_border_does_not_wrap() {
        let mask = [
            1, 0, 0, 1, //
            0, 1, 0, 0, //
            0, 0, 0, 1, //
        ];
        let grid = MaskGrid::slice(3, 4);
        let found = LesionCounts::count(&mask, &mask, &grid, 1);
        assert_eq!(found, counts([3, 3, 3, 0]));
        let volume = MaskGrid {
            sides: [3, 2, 2],
            spacing: [1.0; 3],
        };
        // (0, 0, 0), (1, 1, 1) and (2, 0, 0) meet at corners.
        let mask = [1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0];
        let found = LesionCounts::count(&mask, &mask, &volume, 1);
        assert_eq!(found, counts([1, 1, 1, 0]));
    }

    #[test]
    fn f1_of_nothing_is_undefined_and_of_what_is_made_up_0() {
        assert_eq!(counts([0, 0, 0, 0]).f1(), None);
        assert_eq!(counts([0, 0, 2, 2]).f1(), Some(0.0));
        assert_eq!(counts([2, 0, 0, 0]).f1(), Some(0.0));
        // Two lesions in one component: both are found.
        assert_eq!(counts([2, 2, 1, 0]).f1(), Some(1.0));
        let mut both = counts([3, 1, 2, 1]);
        assert_eq!(both.f1(), Some(0.4));
        both.add(counts([1, 1, 1, 0]));
        assert_eq!(both, counts([4, 2, 3, 1]));
    }

    #[test]
    fn a_component_on_a_lesion_too_small_to_count_is_not_spurious() {
        let truth = [1, 0, 0, 0, 0, 0, 0, 0];
        let predicted = [1, 1, 1, 0, 1, 1, 1, 0];
        let grid = MaskGrid::slice(1, 8);
        let found = LesionCounts::count(&predicted, &truth, &grid, 2);
        assert_eq!(found, counts([0, 0, 2, 1]));
    }
}
