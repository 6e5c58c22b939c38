//! Masks that a test can name in a few numbers; expected values were computed on the same ones.

use super::mask_grid::MaskGrid;

pub(super) const VOLUME: MaskGrid<3> = MaskGrid {
    sides: [9, 12, 10],
    spacing: [3.0, 0.9375, 1.25],
};

pub(super) const SLICE: MaskGrid<2> = MaskGrid::slice(20, 24);

type Ball<const N: usize> = ([i64; N], i64);

const VOLUME_BALLS: [&[Ball<3>]; 2] = [
    &[
        ([12, 16, 16], 150),
        ([24, 36, 8], 40),
        ([4, 40, 36], 20),
        ([32, 4, 36], 3),
    ],
    &[
        ([14, 18, 20], 140),
        ([24, 37, 8], 30),
        ([28, 16, 4], 17),
        ([16, 44, 36], 10),
        ([4, 40, 34], 1),
    ],
];

const SLICE_BALLS: [&[Ball<2>]; 2] = [
    &[
        ([20, 24], 300),
        ([60, 70], 80),
        ([12, 80], 33),
        ([76, 0], 64),
    ],
    &[
        ([24, 28], 280),
        ([60, 71], 90),
        ([40, 8], 20),
        ([2, 94], 20),
    ],
];

/// Two masks of [`VOLUME`].
pub(super) fn volumes() -> [Vec<u8>; 2] {
    VOLUME_BALLS.map(|all| balls(&VOLUME, all))
}

/// Two masks of [`SLICE`].
pub(super) fn slices() -> [Vec<u8>; 2] {
    SLICE_BALLS.map(|all| balls(&SLICE, all))
}

/// Pixels within balls: centres and the square of the radius, in quarters of a pixel.
fn balls<const N: usize>(grid: &MaskGrid<N>, all: &[Ball<N>]) -> Vec<u8> {
    (0..grid.pixels())
        .map(|index| {
            let place = grid.place(index).map(|at| 4 * i64::try_from(at).unwrap());
            let inside = |(centre, square): &Ball<N>| {
                let apart = (0..N).map(|axis| (place[axis] - centre[axis]).pow(2));
                apart.sum::<i64>() <= *square
            };
            u8::from(all.iter().any(inside))
        })
        .collect()
}
