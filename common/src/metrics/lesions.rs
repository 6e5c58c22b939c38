//! Lesion-wise detection: how many lesions a mask finds, and how many it makes up.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::mask_grid::{MaskGrid, is_empty};

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
        for lesion in components(truth, predicted, grid) {
            if lesion.pixels >= minimum {
                counts.truth += 1;
                counts.found += u64::from(lesion.meets_other);
            }
        }
        for component in components(predicted, truth, grid) {
            if component.pixels >= minimum {
                counts.predicted += 1;
                counts.spurious += u64::from(!component.meets_other);
            }
        }
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

/// A connected part of a mask.
#[derive(Debug, Clone, Copy, Default)]
struct Component {
    pixels: usize,
    /// It has a pixel in the other mask.
    meets_other: bool,
}

/// Pixels of a mask that lie beside each other in one row.
#[derive(Debug)]
struct Run {
    /// Places along the row.
    columns: Range<usize>,
    /// A run that it is connected to, this one or one before it; followed to its end, the first of its component.
    connected: usize,
}

/// The components of `mask`: runs of each row, connected to those of the rows before it that they touch.
fn components<const N: usize>(
    mask: &[u8],
    other: &[u8],
    grid: &MaskGrid<N>,
) -> impl Iterator<Item = Component> {
    let row = grid.row().max(1);
    let mut runs = Vec::<Run>::new();
    // Where the runs of each row begin, and where the last one's end.
    let mut rows = vec![0];
    for (number, pixels) in mask.chunks(row).enumerate() {
        add_runs(pixels, &mut runs);
        for before in rows_before(number, grid) {
            connect(&mut runs, rows[before]..rows[before + 1], rows[number]);
        }
        rows.push(runs.len());
    }
    let mut components = vec![Component::default(); runs.len()];
    for (number, row_runs) in rows.windows(2).enumerate() {
        let other = &other[number * row..];
        for run in row_runs[0]..row_runs[1] {
            let columns = runs[run].columns.clone();
            let component = &mut components[first_of(&mut runs, run)];
            component.pixels += columns.len();
            component.meets_other |= other[columns].iter().any(|pixel| *pixel != 0);
        }
    }
    components
        .into_iter()
        .filter(|component| component.pixels > 0)
}

/// Appends the runs of a row.
fn add_runs(pixels: &[u8], runs: &mut Vec<Run>) {
    if is_empty(pixels) {
        return;
    }
    let set = |pixel: &u8| *pixel != 0;
    let mut from = 0;
    while let Some(ahead) = pixels[from..].iter().position(set) {
        let start = from + ahead;
        let length = pixels[start..].iter().position(|pixel| !set(pixel));
        from = length.map_or(pixels.len(), |length| start + length);
        runs.push(Run {
            columns: start..from,
            connected: runs.len(),
        });
    }
}

/// Rows that are neighbours of row `number` and lie before it in memory: one in a slice, four in a volume.
fn rows_before<const N: usize>(number: usize, grid: &MaskGrid<N>) -> impl Iterator<Item = usize> {
    let place = grid.place(number * grid.row());
    // Steps of -1, 0, 1 along the outer axes are digits in base 3, the first axis the highest; the middle number steps
    // nowhere, and those below it step back in memory.
    let steps = 3_usize.pow(u32::try_from(N - 1).unwrap_or(0));
    let sides = grid.sides;
    (0..steps / 2).filter_map(move |mut code| {
        let (mut row, mut stride) = (0, 1);
        for axis in (0..N - 1).rev() {
            let at = (place[axis] + code % 3).checked_sub(1)?;
            code /= 3;
            if at >= sides[axis] {
                return None;
            }
            row += at * stride;
            stride *= sides[axis];
        }
        Some(row)
    })
}

/// Connects the last runs, from number `last` on, to those `before` that they touch, at a corner too.
fn connect(runs: &mut [Run], before: Range<usize>, last: usize) {
    let (mut one, mut other) = (before.start, last);
    while one < before.end && other < runs.len() {
        let (above, below) = (&runs[one].columns, &runs[other].columns);
        let (above_ends, below_ends) = (above.end, below.end);
        if above.start <= below_ends && below.start <= above_ends {
            let (one, other) = (first_of(runs, one), first_of(runs, other));
            runs[one.max(other)].connected = one.min(other);
        }
        if above_ends <= below_ends {
            one += 1;
        } else {
            other += 1;
        }
    }
}

/// The first run of the component that `run` is known to belong to.
fn first_of(runs: &mut [Run], mut run: usize) -> usize {
    while runs[run].connected != run {
        // Halves the way for those who ask next.
        runs[run].connected = runs[runs[run].connected].connected;
        run = runs[run].connected;
    }
    run
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// Components as sets of pixels, grown pixel by pixel.
    fn grown<const N: usize>(mask: &[u8], grid: &MaskGrid<N>) -> Vec<Vec<usize>> {
        let near = |a: usize, b: usize| {
            let (a, b) = (grid.place(a), grid.place(b));
            (0..N).all(|axis| a[axis].abs_diff(b[axis]) <= 1)
        };
        let mut left: Vec<usize> = (0..mask.len()).filter(|pixel| mask[*pixel] != 0).collect();
        let mut components = Vec::new();
        while let Some(start) = left.pop() {
            let mut component = vec![start];
            let mut next = 0;
            while let Some(pixel) = component.get(next).copied() {
                next += 1;
                let (touching, others) = left.into_iter().partition(|other| near(pixel, *other));
                left = others;
                component.extend::<Vec<usize>>(touching);
            }
            components.push(component);
        }
        components
    }

    fn by_growing<const N: usize>(
        predicted: &[u8],
        truth: &[u8],
        grid: &MaskGrid<N>,
        minimum: usize,
    ) -> LesionCounts {
        let counted = |mask: &[u8], other: &[u8]| {
            let mut components = grown(mask, grid);
            components.retain(|component| component.len() >= minimum);
            let meets = |component: &&Vec<usize>| component.iter().any(|pixel| other[*pixel] != 0);
            let meeting = components.iter().filter(meets).count() as u64;
            (components.len() as u64, meeting)
        };
        let (truth_count, found) = counted(truth, predicted);
        let (predicted_count, meeting) = counted(predicted, truth);
        counts([
            truth_count,
            found,
            predicted_count,
            predicted_count - meeting,
        ])
    }

    proptest! {
        #[test]
        fn runs_connect_as_pixels_do(
            pixels in prop::collection::vec((0_u8..5, 0_u8..5), 4 * 5 * 6),
            dense in 1_u8..4,
            minimum in 1_usize..4,
        ) {
            let (a, b): (Vec<u8>, Vec<u8>) =
                pixels.iter().map(|(a, b)| (u8::from(*a < dense), u8::from(*b < dense))).unzip();
            let volume = MaskGrid { sides: [4, 5, 6], spacing: [1.0; 3] };
            let slice = MaskGrid::slice(12, 10);
            let found = LesionCounts::count(&a, &b, &volume, minimum);
            prop_assert_eq!(found, by_growing(&a, &b, &volume, minimum));
            let found = LesionCounts::count(&a, &b, &slice, minimum);
            prop_assert_eq!(found, by_growing(&a, &b, &slice, minimum));
        }
    }
}
