//! Exact Euclidean distance to the nearest of given points, for every pixel of a grid: the lower envelope of parabolas
//! along one axis after the other (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", 2012).

use super::mask_grid::MaskGrid;

/// Square of the distance of every pixel to the nearest pixel that `points` sets, in squared units of the spacing;
/// infinite where none is set.
pub(super) fn squared_distances<const N: usize>(points: &[bool], grid: &MaskGrid<N>) -> Vec<f64> {
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

    #[test]
    fn they_are_the_nearest_of_all_points() {
        let grid = MaskGrid {
            sides: [5, 7, 6],
            spacing: [3.0, 0.75, 1.25],
        };
        let points: Vec<bool> = (0..grid.pixels())
            .map(|n| (n * 7919 + 17) % 23 == 0)
            .collect();
        let apart = |a: usize, b: usize| -> f64 {
            let (a, b) = (grid.place(a), grid.place(b));
            (0..3)
                .map(|axis| ((a[axis] as f64 - b[axis] as f64) * grid.spacing[axis]).powi(2))
                .sum()
        };
        let found = squared_distances(&points, &grid);
        for (pixel, found) in found.iter().enumerate() {
            let all = (0..points.len()).filter(|n| points[*n]);
            let nearest = all.map(|n| apart(pixel, n)).fold(f64::INFINITY, f64::min);
            assert!(
                (found - nearest).abs() < 1e-9,
                "{pixel}: {found}, {nearest}"
            );
        }
    }

    #[test]
    fn without_points_everything_is_far() {
        let found = squared_distances(&[false; 6], &MaskGrid::slice(2, 3));
        assert!(found.iter().all(|square| *square == f64::INFINITY));
    }
}
