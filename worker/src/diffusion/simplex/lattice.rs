//! Which vertices of the simplex lattice reach a point, and with what weight.
//!
//! This is the lattice of OpenSimplex as first published (K. Spencer, 2014, in the public domain): a
//! grid of squares or cubes, squashed along its main diagonal. A vertex at displacement d from a point
//! contributes `(2 - |d|^2)^4 (gradient . d)` while `|d|^2 < 2`. Beside the vertices of the cell's
//! simplex, one more vertex in the plane and two in space are looked at; which ones is decided by
//! comparisons as the original makes them, ties included, since fields must agree with it.

/// Told every vertex that reaches a point: its position on the lattice and its weight, attenuation
/// times displacement. The value at the point is the sum of `weight . gradient(vertex)`.
pub(super) trait VisitVertex<const D: usize>: FnMut([i64; D], [f64; D]) {}

impl<const D: usize, F: FnMut([i64; D], [f64; D])> VisitVertex<D> for F {}

/// Gradients in the plane.
pub(super) const GRADIENTS2: [[i8; 2]; 8] = [
    [5, 2],
    [2, 5],
    [-5, 2],
    [-2, 5],
    [5, -2],
    [2, -5],
    [-5, -2],
    [-2, -5],
];

/// Gradients in space: for each octant the three vectors that lean to one axis.
pub(super) const GRADIENTS3: [[i8; 3]; 24] = {
    let mut table = [[0; 3]; 24];
    let mut octant = 0;
    while octant < 8 {
        // Octants in the order - + + , + + +, - - +, ...: x turns fastest.
        let signs = [
            if octant & 1 == 0 { -1 } else { 1 },
            if octant & 2 == 0 { 1 } else { -1 },
            if octant & 4 == 0 { 1 } else { -1 },
        ];
        let mut leaning = 0;
        while leaning < 3 {
            let mut axis = 0;
            while axis < 3 {
                let length = if axis == leaning { 11 } else { 4 };
                table[3 * octant + leaning][axis] = signs[axis] * length;
                axis += 1;
            }
            leaning += 1;
        }
        octant += 1;
    }
    table
};

/// `(1 / sqrt(3) - 1) / 2` and `(sqrt(3) - 1) / 2`, to the digits of the original.
const STRETCH2: f64 = -0.211_324_865_405_187;
const SQUISH2: f64 = 0.366_025_403_784_439;
/// `(1 / sqrt(4) - 1) / 3` and `(sqrt(4) - 1) / 3`.
const STRETCH3: f64 = -1.0 / 6.0;
const SQUISH3: f64 = 1.0 / 3.0;

/// Sums of contributions are divided by these to lie about in [-1, 1].
const NORM2: f64 = 47.0;
const NORM3: f64 = 103.0;

/// Vertices that reach a point of the plane; weights are times `amplitude`.
pub(super) fn reach2(point: [f64; 2], amplitude: f64, visit: &mut impl VisitVertex<2>) {
    let place = Place::new(point, STRETCH2, SQUISH2);
    let [u, v] = place.inside;
    let sum = u + v;
    let (corner, extra) = if sum <= 1.0 {
        let origin = 1.0 - sum;
        let beside = origin > u || origin > v;
        let extra = match (beside, u > v) {
            (true, true) => [1, -1],
            (true, false) => [-1, 1],
            (false, _) => [1, 1],
        };
        ([0, 0], extra)
    } else {
        let far = 2.0 - sum;
        let beside = far < u || far < v;
        let extra = match (beside, u > v) {
            (true, true) => [2, 0],
            (true, false) => [0, 2],
            (false, _) => [0, 0],
        };
        ([1, 1], extra)
    };
    for vertex in [[1, 0], [0, 1], corner, extra] {
        place.contribute(vertex, amplitude / NORM2, visit);
    }
}

/// Vertices that reach a point of space; weights are times `amplitude`.
pub(super) fn reach3(point: [f64; 3], amplitude: f64, visit: &mut impl VisitVertex<3>) {
    let place = Place::new(point, STRETCH3, SQUISH3);
    let inside = place.inside;
    let sum = inside[0] + inside[1] + inside[2];
    let scale = amplitude / NORM3;
    if sum <= 1.0 {
        let extra = beside_a_corner(inside, 1.0 - sum);
        for vertex in [[0, 0, 0], UNIT[0], UNIT[1], UNIT[2], extra[0], extra[1]] {
            place.contribute(vertex, scale, visit);
        }
    } else if sum >= 2.0 {
        // The corner (1, 1, 1) is the corner (0, 0, 0) seen from the other end of the diagonal.
        let extra = beside_a_corner(inside.map(|part| -part), -(3.0 - sum));
        for vertex in [[0, 0, 0], UNIT[0], UNIT[1], UNIT[2], extra[0], extra[1]] {
            place.contribute(vertex.map(|part| 1 - part), scale, visit);
        }
    } else {
        let extra = between_the_corners(inside);
        for axis in UNIT {
            place.contribute(axis, scale, visit);
            place.contribute(axis.map(|part| 1 - part), scale, visit);
        }
        for vertex in extra {
            place.contribute(vertex, scale, visit);
        }
    }
}

/// Unit steps along the lattice.
const UNIT: [[i64; 3]; 3] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

/// The two extra vertices of the tetrahedron at (0, 0, 0). `closeness` tells how near the point is to
/// each of the other three corners, `origin` how near to (0, 0, 0).
fn beside_a_corner(closeness: [f64; 3], origin: f64) -> [[i64; 3]; 2] {
    // The nearer two of the three: the farther of the first two (the second on a tie) may give way.
    let (mut a, mut b) = (0, 1);
    if closeness[a] >= closeness[b] {
        if closeness[2] > closeness[b] {
            b = 2;
        }
    } else if closeness[2] > closeness[a] {
        a = 2;
    }
    let third = 3 - a - b;
    if origin > closeness[a] || origin > closeness[b] {
        let nearest = if closeness[b] > closeness[a] { b } else { a };
        let (one, other) = ((nearest + 1) % 3, (nearest + 2) % 3);
        [
            minus(UNIT[nearest], UNIT[one]),
            minus(UNIT[nearest], UNIT[other]),
        ]
    } else {
        let face = minus([1, 1, 1], UNIT[third]);
        [face, minus(face, UNIT[third])]
    }
}

/// The two extra vertices of the octahedron between both tetrahedra.
fn between_the_corners(inside: [f64; 3]) -> [[i64; 3]; 2] {
    // For each axis: on which side of the middle the sum of the other two is, and how far from it.
    let lean = |axis: usize| {
        let pair = match axis {
            2 => inside[0] + inside[1],
            1 => inside[0] + inside[2],
            _ => inside[1] + inside[2],
        };
        if pair > 1.0 {
            (pair - 1.0, true)
        } else {
            (1.0 - pair, false)
        }
    };
    // The two axes that lean most: the lesser of the first two (the first on a tie) may give way.
    let (mut a, mut b) = (2, 1);
    let third = lean(0).0;
    if lean(a).0 <= lean(b).0 {
        if lean(a).0 < third {
            a = 0;
        }
    } else if lean(b).0 < third {
        b = 0;
    }
    let rest = 3 - a - b;
    let doubled = |axis: usize| UNIT[axis].map(|part| 2 * part);
    let opposite = |axis: usize| minus([1, 1, 1], doubled(axis));
    match (lean(a).1, lean(b).1) {
        (true, true) => [[1, 1, 1], doubled(rest)],
        (false, false) => [[0, 0, 0], opposite(rest)],
        (true, false) => [opposite(a), doubled(b)],
        (false, true) => [opposite(b), doubled(a)],
    }
}

fn minus(a: [i64; 3], b: [i64; 3]) -> [i64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// A point within its cell.
struct Place<const D: usize> {
    /// Corner (0, 0, 0) of the cell on the lattice.
    cell: [i64; D],
    /// Position in the cell, each in [0, 1).
    inside: [f64; D],
    /// Displacement from that corner in the coordinates of the field.
    displacement: [f64; D],
    squish: f64,
}

impl<const D: usize> Place<D> {
    #[allow(clippy::cast_possible_truncation)] // fields are far smaller than 2^52
    fn new(point: [f64; D], stretch: f64, squish: f64) -> Self {
        let shift = total(point) * stretch;
        let stretched = point.map(|part| part + shift);
        let floor = stretched.map(f64::floor);
        let shift = total(floor) * squish;
        Self {
            cell: floor.map(|part| part as i64),
            inside: std::array::from_fn(|axis| stretched[axis] - floor[axis]),
            displacement: std::array::from_fn(|axis| point[axis] - (floor[axis] + shift)),
            squish,
        }
    }

    #[allow(clippy::cast_precision_loss)] // vertices of one cell
    fn contribute(&self, vertex: [i64; D], scale: f64, visit: &mut impl VisitVertex<D>) {
        let vertex_f64 = vertex.map(|part| part as f64);
        let shift = total(vertex_f64) * self.squish;
        let displacement: [f64; D] =
            std::array::from_fn(|axis| self.displacement[axis] - vertex_f64[axis] - shift);
        let attenuation = 2.0 - total(displacement.map(|part| part * part));
        if attenuation <= 0.0 {
            return;
        }
        let squared = attenuation * attenuation;
        let factor = squared * squared * scale;
        visit(
            std::array::from_fn(|axis| self.cell[axis] + vertex[axis]),
            displacement.map(|part| part * factor),
        );
    }
}

/// Sum of the parts, first to last.
fn total<const D: usize>(parts: [f64; D]) -> f64 {
    parts.into_iter().fold(0.0, |sum, part| sum + part)
}
