//! HD95: the 95th percentile of the distance between the surfaces of two masks.

use super::bootstrap::percentile;
use super::distance_transform::nearest_squares;
use super::mask_grid::{MaskGrid, is_empty};

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
    let (first, second) = (surface(first, grid), surface(second, grid));
    let one = directed(&first, &second, grid)?;
    let other = directed(&second, &first, grid)?;
    Some(one.max(other))
}

/// [`hd95`] of two masks of one slice, `height` x `width` row by row, in pixels.
///
/// # Panics
/// As [`hd95`].
pub fn hd95_2d(first: &[u8], second: &[u8], height: usize, width: usize) -> Option<f64> {
    hd95(first, second, &MaskGrid::slice(height, width))
}

/// Places of the pixels that are set and have a neighbour outside.
fn surface<const N: usize>(mask: &[u8], grid: &MaskGrid<N>) -> Vec<[usize; N]> {
    let strides = grid.strides();
    let row = grid.row().max(1);
    let mut found = Vec::new();
    for (number, pixels) in mask.chunks(row).enumerate() {
        if is_empty(pixels) {
            continue;
        }
        let place = grid.place(number * row);
        let outer = 0..N - 1;
        let is_edge = outer
            .clone()
            .any(|axis| place[axis] == 0 || place[axis] + 1 == grid.sides[axis]);
        for (column, _) in pixels.iter().enumerate().filter(|(_, pixel)| **pixel != 0) {
            let index = number * row + column;
            let set = |index: usize| mask[index] != 0;
            let at_end = column == 0 || column + 1 == row;
            let is_surface = is_edge
                || at_end
                || !(set(index - 1) && set(index + 1))
                || outer.clone().any(|axis| {
                    let stride = strides[axis];
                    !(set(index - stride) && set(index + stride))
                });
            if is_surface {
                let mut place = place;
                place[N - 1] = column;
                found.push(place);
            }
        }
    }
    found
}

/// 95th percentile of the distances from the places `from` to the nearest of `to`.
fn directed<const N: usize>(
    from: &[[usize; N]],
    to: &[[usize; N]],
    grid: &MaskGrid<N>,
) -> Option<f64> {
    if from.is_empty() || to.is_empty() {
        return None;
    }
    let mut distances = nearest_squares(from, to, grid);
    for distance in &mut distances {
        *distance = distance.sqrt();
    }
    distances.sort_unstable_by(f64::total_cmp);
    Some(percentile(&distances, FRACTION))
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
