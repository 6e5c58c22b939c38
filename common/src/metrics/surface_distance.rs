//! HD95: the 95th percentile of the distance between the surfaces of two masks.

use super::bootstrap::percentile;
use super::distance_transform::squared_distances;
use super::mask_grid::MaskGrid;

/// The percentile that stands for the largest distance, without its few outliers.
const FRACTION: f64 = 0.95;

/// The larger of the 95th percentiles of the distances from each mask's surface to the nearest point of the other's,
/// in units of the grid's spacing; `None` where one of the masks, or both, are empty.
///
/// The surface of a mask is its pixels with a neighbour outside, next to it along an axis (4 neighbours in a slice, 6 in
/// a volume); beyond the grid is outside. Distances are of pixel centres, percentiles are interpolated linearly. Any
/// value but 0 is set.
///
/// # Panics
/// When a mask does not hold a value for every pixel of the grid.
pub fn hd95<const N: usize>(first: &[u8], second: &[u8], grid: &MaskGrid<N>) -> Option<f64> {
    grid.check(first);
    grid.check(second);
    // No distance leaves the box: surfaces are of pixels that are set.
    let (corner, sides) = grid.bounds([first, second])?;
    let within = MaskGrid {
        sides,
        spacing: grid.spacing,
    };
    let [first, second] =
        [first, second].map(|mask| surface(&cut(mask, grid, corner, &within), &within));
    let one = directed(&first, &second, &within)?;
    let other = directed(&second, &first, &within)?;
    Some(one.max(other))
}

/// [`hd95`] of two masks of one slice, `height` x `width` row by row, in pixels.
///
/// # Panics
/// As [`hd95`].
pub fn hd95_2d(first: &[u8], second: &[u8], height: usize, width: usize) -> Option<f64> {
    hd95(first, second, &MaskGrid::slice(height, width))
}

/// The part of `mask` that begins at `corner` and has the sides of `within`.
fn cut<const N: usize>(
    mask: &[u8],
    grid: &MaskGrid<N>,
    corner: [usize; N],
    within: &MaskGrid<N>,
) -> Vec<bool> {
    let strides = grid.strides();
    let row = within.row();
    (0..within.pixels())
        .step_by(row)
        .flat_map(|index| {
            let place = within.place(index);
            let at: usize = (0..N)
                .map(|axis| (corner[axis] + place[axis]) * strides[axis])
                .sum();
            mask[at..at + row].iter().map(|pixel| *pixel != 0)
        })
        .collect()
}

fn surface<const N: usize>(mask: &[bool], grid: &MaskGrid<N>) -> Vec<bool> {
    let strides = grid.strides();
    let row = grid.row();
    let mut border = vec![false; mask.len()];
    for start in (0..mask.len()).step_by(row) {
        let place = grid.place(start);
        let outer = 0..N - 1;
        let is_edge = outer
            .clone()
            .any(|axis| place[axis] == 0 || place[axis] + 1 == grid.sides[axis]);
        for index in (start..start + row).filter(|index| mask[*index]) {
            let at_end = index == start || index + 1 == start + row;
            border[index] = is_edge
                || at_end
                || !(mask[index - 1] && mask[index + 1])
                || outer.clone().any(|axis| {
                    let stride = strides[axis];
                    !(mask[index - stride] && mask[index + stride])
                });
        }
    }
    border
}

/// 95th percentile of the distances from the points of `from` to the nearest of `to`.
fn directed<const N: usize>(from: &[bool], to: &[bool], grid: &MaskGrid<N>) -> Option<f64> {
    if !to.contains(&true) {
        return None;
    }
    let squares = squared_distances(to, grid);
    let mut distances: Vec<f64> = from
        .iter()
        .zip(squares)
        .filter(|(set, _)| **set)
        .map(|(_, square)| square.sqrt())
        .collect();
    distances.sort_unstable_by(f64::total_cmp);
    (!distances.is_empty()).then(|| percentile(&distances, FRACTION))
}

#[cfg(test)]
mod tests {
    use super::super::test_masks::{SLICE, VOLUME, slices, volumes};
    use super::*;

    /// scipy 1.17.1: `mask ^ binary_erosion(mask)`, `distance_transform_edt(~other, sampling)`, numpy `percentile`.
    #[test]
    fn it_is_that_of_scipy() {
        let [a, b] = volumes();
        let close = |found: Option<f64>, want: f64| (found.unwrap() - want).abs() < 1e-12;
        assert!(close(hd95(&a, &b, &VOLUME), 4.598_607_366_030_99));
        assert!(close(hd95(&b, &a, &VOLUME), 4.598_607_366_030_99));
        let [a, b] = slices();
        let [height, width] = SLICE.sides;
        assert!(close(hd95_2d(&a, &b, height, width), 7.748_038_461_248_18));
        assert_eq!(hd95_2d(&a, &a, height, width), Some(0.0));
    }

    #[test]
    fn the_inside_is_no_surface_and_the_border_is() {
        // A block of 5 x 5 in a corner, and its ring: the pixels within have no part in it.
        let block: Vec<u8> = (0..64).map(|n| u8::from(n / 8 < 5 && n % 8 < 5)).collect();
        let ring: Vec<u8> = (0..64)
            .map(|n| u8::from(n / 8 < 5 && n % 8 < 5 && (n / 8 % 4 == 0 || n % 8 % 4 == 0)))
            .collect();
        assert_eq!(hd95_2d(&block, &ring, 8, 8), Some(0.0));
    }

    #[test]
    fn an_empty_mask_has_no_surface() {
        let one = [1, 0, 0, 0];
        assert_eq!(hd95_2d(&one, &[0; 4], 2, 2), None);
        assert_eq!(hd95_2d(&[0; 4], &one, 2, 2), None);
        assert_eq!(hd95_2d(&[0; 4], &[0; 4], 2, 2), None);
        assert_eq!(hd95_2d(&[], &[], 0, 0), None);
    }
}
