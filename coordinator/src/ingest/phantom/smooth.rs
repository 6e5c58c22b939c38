//! Smooth random fields: random values on a lattice, blended between its nodes.

use anofpdm_common::random::Stream;

/// A field over [-1, 1]³ with values in [-1, 1].
pub(super) struct Field {
    nodes: usize,
    cells: f64,
    values: Vec<f32>,
}

impl Field {
    /// About `cells` bumps along each axis.
    pub(super) fn new(stream: &mut Stream, cells: usize) -> Self {
        let nodes = cells + 2;
        #[allow(clippy::cast_possible_truncation)]
        let values = (0..nodes * nodes * nodes)
            .map(|_| (2.0 * stream.uniform() - 1.0) as f32)
            .collect();
        #[allow(clippy::cast_precision_loss)]
        let cells = cells as f64;
        Self {
            nodes,
            cells,
            values,
        }
    }

    /// The value at a point; points outside take the nearest edge's.
    pub(super) fn at(&self, point: [f64; 3]) -> f64 {
        let [(x, u), (y, v), (z, w)] = point.map(|coordinate| self.cell(coordinate));
        let node = |dx: usize, dy: usize, dz: usize| {
            f64::from(self.values[x + dx + self.nodes * (y + dy + self.nodes * (z + dz))])
        };
        let along = |dy: usize, dz: usize| blend(node(0, dy, dz), node(1, dy, dz), u);
        let across = |dz: usize| blend(along(0, dz), along(1, dz), v);
        blend(across(0), across(1), w)
    }

    /// Index of the cell and the eased place in it.
    fn cell(&self, coordinate: f64) -> (usize, f64) {
        let place = (coordinate.clamp(-1.0, 1.0) + 1.0) / 2.0 * self.cells;
        let whole = place.floor();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = whole as usize;
        (index, ease(place - whole))
    }
}

fn blend(a: f64, b: f64, weight: f64) -> f64 {
    a + (b - a) * weight
}

/// 0 below 0, 1 above 1, smooth between.
pub(super) fn ease(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anofpdm_common::random::Domain;

    #[test]
    fn bounded_continuous_and_not_constant() {
        let field = Field::new(&mut Stream::new(0, Domain::Phantom, 0, 0), 5);
        let line: Vec<f64> = (0..=2_000)
            .map(|i| field.at([f64::from(i) / 1_000.0 - 1.0, 0.3, -0.2]))
            .collect();
        assert!(line.iter().all(|x| x.abs() <= 1.0));
        assert!(line.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.02));
        assert!(line.iter().any(|x| (x - line[0]).abs() > 0.1));
    }
}
