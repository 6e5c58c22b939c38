//! Exact Euclidean distance to the nearest of given points.

use super::mask_grid::MaskGrid;

/// Pairs of points for each pixel of their box up to which all of them are looked at: a pair takes half a nanosecond, the
/// transform twelve a pixel (Xeon with AVX-512).
const PAIRS_A_PIXEL: usize = 20;
/// Numbers that stand beside each other: what is done to all of them at once.
const LANES: usize = 8;

/// Square of the distance of each of `from` to the nearest of `to`, in squared units of the spacing; infinite where that
/// is empty.
pub(super) fn nearest_squares<const N: usize>(
    from: &[[usize; N]],
    to: &[[usize; N]],
    grid: &MaskGrid<N>,
) -> Vec<f64> {
    let Some((corner, within)) = grid.bounds(from.iter().chain(to)) else {
        return Vec::new();
    };
    if from.len().saturating_mul(to.len()) <= PAIRS_A_PIXEL * within.pixels() {
        return nearest_of_all(from, to, grid);
    }
    let strides = within.strides();
    let index = |place: &[usize; N]| -> usize {
        (0..N)
            .map(|axis| (place[axis] - corner[axis]) * strides[axis])
            .sum()
    };
    let mut points = vec![false; within.pixels()];
    for place in to {
        points[index(place)] = true;
    }
    let squares = squared_distances(&points, &within);
    from.iter().map(|place| squares[index(place)]).collect()
}

/// The same by looking at all pairs.
fn nearest_of_all<const N: usize>(
    from: &[[usize; N]],
    to: &[[usize; N]],
    grid: &MaskGrid<N>,
) -> Vec<f64> {
    let at = |place: &[usize; N]| -> [f64; N] {
        std::array::from_fn(|axis| place[axis] as f64 * grid.spacing[axis])
    };
    // Some points at a time, axis by axis; filled up with points that are nowhere near.
    let lanes: Vec<[[f64; LANES]; N]> = to
        .chunks(LANES)
        .map(|places| {
            let mut lanes = [[f64::INFINITY; LANES]; N];
            for (lane, place) in places.iter().enumerate() {
                for (lanes, at) in lanes.iter_mut().zip(at(place)) {
                    lanes[lane] = at;
                }
            }
            lanes
        })
        .collect();
    let nearest = |place: &[usize; N]| {
        let place = at(place);
        let mut least = [f64::INFINITY; LANES];
        for lanes in &lanes {
            let mut squares = [0.0; LANES];
            for (at, lanes) in place.iter().zip(lanes) {
                for (square, other) in squares.iter_mut().zip(lanes) {
                    *square += (at - other) * (at - other);
                }
            }
            for (least, square) in least.iter_mut().zip(squares) {
                *least = if square < *least { square } else { *least };
            }
        }
        least.into_iter().fold(f64::INFINITY, f64::min)
    };
    from.iter().map(nearest).collect()
}

/// Square of the distance of every pixel to the nearest pixel that `points` sets, infinite where none is set: the lower
/// envelope of parabolas along one axis after the other (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
/// Functions", 2012).
fn squared_distances<const N: usize>(points: &[bool], grid: &MaskGrid<N>) -> Vec<f64> {
    let mut squares: Vec<f64> = points
        .iter()
        .map(|set| if *set { 0.0 } else { f64::INFINITY })
        .collect();
    let along = grid.sides.into_iter().zip(grid.strides());
    for ((side, stride), spacing) in along.zip(grid.spacing) {
        let mut envelope = Envelope::new(side, spacing);
        // Lines along the axis lie beside each other, as many as its stride.
        for first in (0..squares.len()).step_by((side * stride).max(1)) {
            for start in first..first + stride {
                envelope.line(&mut squares, start, stride);
            }
        }
    }
    squares
}

/// Room for one line.
struct Envelope {
    side: usize,
    spacing: f64,
    values: Vec<f64>,
    /// Places of the parabolas of the envelope, and from where on each is the lowest.
    vertices: Vec<(f64, f64, f64)>,
}

impl Envelope {
    fn new(side: usize, spacing: f64) -> Self {
        Self {
            side,
            spacing,
            values: vec![0.0; side],
            vertices: Vec::with_capacity(side),
        }
    }

    fn line(&mut self, squares: &mut [f64], start: usize, stride: usize) {
        self.vertices.clear();
        for n in 0..self.side {
            let height = squares[start + n * stride];
            if height == f64::INFINITY {
                continue;
            }
            let at = n as f64 * self.spacing;
            let mut from = f64::NEG_INFINITY;
            while let Some((other, other_height, other_from)) = self.vertices.last().copied() {
                let cut = (height - other_height + at * at - other * other) / (2.0 * (at - other));
                if cut > other_from {
                    from = cut;
                    break;
                }
                self.vertices.pop();
            }
            self.vertices.push((at, height, from));
        }
        if self.vertices.is_empty() {
            return;
        }
        let mut lowest = 0;
        for n in 0..self.side {
            let at = n as f64 * self.spacing;
            while self
                .vertices
                .get(lowest + 1)
                .is_some_and(|(_, _, from)| *from < at)
            {
                lowest += 1;
            }
            let (vertex, height, _) = self.vertices[lowest];
            self.values[n] = (at - vertex).powi(2) + height;
        }
        for n in 0..self.side {
            squares[start + n * stride] = self.values[n];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One by one.
    fn nearest<const N: usize>(place: [usize; N], to: &[[usize; N]], grid: &MaskGrid<N>) -> f64 {
        let apart = |other: &[usize; N]| -> f64 {
            (0..N)
                .map(|axis| {
                    ((place[axis] as f64 - other[axis] as f64) * grid.spacing[axis]).powi(2)
                })
                .sum()
        };
        to.iter().map(apart).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn they_are_the_nearest_of_all_points() {
        let grid = MaskGrid {
            sides: [5, 7, 6],
            spacing: [3.0, 0.75, 1.25],
        };
        let points: Vec<bool> = (0..grid.pixels())
            .map(|n| (n * 7919 + 17) % 23 == 0)
            .collect();
        let all: Vec<[usize; 3]> = (0..grid.pixels()).map(|n| grid.place(n)).collect();
        let to: Vec<[usize; 3]> = (0..grid.pixels())
            .filter(|n| points[*n])
            .map(|n| grid.place(n))
            .collect();
        let by_envelopes = squared_distances(&points, &grid);
        let by_pairs = nearest_of_all(&all, &to, &grid);
        for ((place, found), of_pairs) in all.iter().zip(by_envelopes).zip(by_pairs) {
            let want = nearest(*place, &to, &grid);
            assert!((found - want).abs() < 1e-9, "{place:?}: {found}, {want}");
            assert!(
                (of_pairs - want).abs() < 1e-9,
                "{place:?}: {of_pairs}, {want}"
            );
        }
    }

    #[test]
    fn many_points_give_what_few_give() {
        let grid = MaskGrid::slice(40, 30);
        let places = |from: usize, step: usize| -> Vec<[usize; 2]> {
            (from..grid.pixels())
                .step_by(step)
                .map(|n| grid.place(n))
                .collect()
        };
        let (many, few) = (places(3, 2), places(11, 7));
        assert!(many.len() * few.len() > PAIRS_A_PIXEL * grid.pixels());
        assert_eq!(
            nearest_squares(&many, &few, &grid),
            nearest_of_all(&many, &few, &grid)
        );
        assert_eq!(nearest_squares(&[], &[], &grid), [0.0; 0]);
        assert_eq!(nearest_squares(&few[..1], &[], &grid), [f64::INFINITY]);
    }

    #[test]
    fn without_points_everything_is_far() {
        let found = squared_distances(&[false; 6], &MaskGrid::slice(2, 3));
        assert!(found.iter().all(|square| *square == f64::INFINITY));
    }
}
