//! Where the voxels of a volume lie: the affine that its header states, and whether two volumes share a grid.

use std::fmt;

use anofpdm_common::store::slices::{AxisMap, SourceHeader};

/// Voxel to world (right, anterior, superior), upper three rows, in the file's unit of length: millimetres as a rule.
pub type Affine = [[f64; 4]; 3];

/// What stands for the affine of a volume whose header states none.
pub const IDENTITY: Affine = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
];

/// Affines of one grid may differ by this much, in millimetres: what rounding in different programs leaves.
const TOLERANCE: f64 = 1e-2;

/// The same where voxels are smaller than a tenth of a unit (an affine in metres), in parts of a voxel.
const FINE_TOLERANCE: f64 = 0.1;

/// The smallest volume of a voxel in parts of the product of its sides: below this its axes lie in one plane.
const FLAT: f64 = 1e-6;

/// A quaternion may be longer than a unit by what single precision leaves when programs write it.
const QUATERNION_EXCESS: f64 = 1e-6;

/// The fields of a header that say where its voxels lie.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    pub(super) sform_code: i32,
    pub(super) qform_code: i32,
    pub(super) rows: Affine,
    pub(super) quaternion: [f64; 3],
    pub(super) origin: [f64; 3],
    /// `pixdim[0..4]`: handedness and spacing.
    pub(super) pixdim: [f64; 4],
    /// Rounding of the header's numbers.
    pub(super) epsilon: f64,
}

impl Placement {
    /// The fields as they stand there; a code that the standard does not know is none, and what is no number is 0.
    pub(super) fn source(&self, xyzt_units: u8) -> SourceHeader {
        let code = |code: i32| {
            let known = known_code(code).then(|| i16::try_from(code).ok());
            known.flatten().unwrap_or(0)
        };
        let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
        SourceHeader {
            sform_code: code(self.sform_code),
            qform_code: code(self.qform_code),
            pixdim: self.pixdim.map(finite),
            xyzt_units,
            quaternion: self.quaternion.map(finite),
            offset: self.origin.map(finite),
        }
    }

    /// sform, else qform; `None` where neither has a code. As nibabel reads them, a code that the standard does not
    /// know counts as none.
    pub(super) fn affine(&self) -> Result<Option<Affine>, String> {
        let affine = if known_code(self.sform_code) {
            self.rows
        } else if known_code(self.qform_code) {
            self.rotation()?
        } else {
            return Ok(None);
        };
        let sides = sides(&affine);
        let volume = determinant(&affine) / sides.iter().product::<f64>();
        // A NaN is not above.
        if affine.iter().flatten().all(|x| x.is_finite()) && volume.abs() > FLAT {
            Ok(Some(affine))
        } else {
            Err(format!("its affine {} is not invertible", Numbers(&affine)))
        }
    }

    /// The qform of the standard ("method 2"), with nibabel's repairs: a spacing counts without its sign, one of 0 is
    /// 1, and only a `pixdim[0]` of -1 turns the third axis.
    fn rotation(&self) -> Result<Affine, String> {
        let [b, c, d] = self.quaternion;
        let rest = 1.0 - (b * b + c * c + d * d);
        let a = if rest.abs() < 3.0 * self.epsilon {
            0.0
        } else if rest < -QUATERNION_EXCESS {
            return Err(format!(
                "its qform is no rotation: the quaternion ({b}, {c}, {d}) is longer than 1"
            ));
        } else {
            rest.max(0.0).sqrt()
        };
        let double = 2.0 / (a * a + b * b + c * c + d * d);
        let [bb, cc, dd] = [b, c, d].map(|x| x * x * double);
        let [bc, bd, cd] = [b * c, b * d, c * d].map(|x| x * double);
        let [ab, ac, ad] = [b, c, d].map(|x| a * x * double);
        let rotation = [
            [1.0 - (cc + dd), bc - ad, bd + ac],
            [bc + ad, 1.0 - (bb + dd), cd - ab],
            [bd - ac, cd + ab, 1.0 - (bb + cc)],
        ];
        let spacing = [1, 2, 3].map(|axis| match self.pixdim[axis].abs() {
            0.0 => 1.0,
            length => length,
        });
        #[allow(clippy::float_cmp)]
        let handedness = if self.pixdim[0] == -1.0 { -1.0 } else { 1.0 };
        let scale = [spacing[0], spacing[1], handedness * spacing[2]];
        Ok([0, 1, 2].map(|row| {
            let [x, y, z] = rotation[row];
            [x * scale[0], y * scale[1], z * scale[2], self.origin[row]]
        }))
    }
}

fn known_code(code: i32) -> bool {
    (1..=5).contains(&code)
}

/// Length of a voxel along each array axis.
pub(super) fn sides(affine: &Affine) -> [f64; 3] {
    [0, 1, 2].map(|axis| {
        affine
            .iter()
            .map(|row| row[axis] * row[axis])
            .sum::<f64>()
            .sqrt()
    })
}

fn determinant([a, b, c]: &Affine) -> f64 {
    a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
}

/// Voxels of an array and where they lie.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// Voxels along each array axis.
    pub shape: [usize; 3],
    /// Where they lie.
    pub affine: &'a Affine,
}

impl Grid<'_> {
    /// Where each axis of this grid lies in `other`, if both hold the same places in space: `other` may have its axes
    /// in another order or running the other way.
    pub fn found_in(&self, other: &Grid<'_>) -> Option<[AxisMap; 3]> {
        let finest = sides(self.affine).into_iter().fold(f64::INFINITY, f64::min);
        let tolerance = TOLERANCE.min(FINE_TOLERANCE * finest);
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance;
        let runs_along = |axis: usize, candidate: AxisMap| {
            let sense = if candidate.flipped { -1.0 } else { 1.0 };
            self.shape[axis] == other.shape[candidate.axis]
                && (0..3).all(|row| {
                    near(
                        self.affine[row][axis],
                        sense * other.affine[row][candidate.axis],
                    )
                })
        };
        let mut axes = [AxisMap {
            axis: 0,
            flipped: false,
        }; 3];
        for (axis, found) in axes.iter_mut().enumerate() {
            // Its own place first: that of nearly all.
            let candidates = [axis, (axis + 1) % 3, (axis + 2) % 3];
            *found = candidates
                .into_iter()
                .flat_map(|axis| [false, true].map(|flipped| AxisMap { axis, flipped }))
                .find(|candidate| runs_along(axis, *candidate))?;
        }
        if (0..3).any(|axis| axes.iter().all(|map| map.axis != axis)) {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let corner = |row: usize| {
            axes.iter()
                .filter(|map| map.flipped)
                .map(|map| other.affine[row][map.axis] * (other.shape[map.axis] - 1) as f64)
                .sum::<f64>()
                + other.affine[row][3]
        };
        (0..3)
            .all(|row| near(self.affine[row][3], corner(row)))
            .then_some(axes)
    }
}

/// An affine as a message shows it.
#[derive(Debug)]
pub struct Numbers<'a>(pub &'a Affine);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |row: &[f64; 4]| {
            #[allow(clippy::cast_possible_truncation)]
            // As single precision, which is what most headers hold; 0 without a sign.
            row.map(|x| (x as f32 + 0.0).to_string()).join(" ")
        };
        let [x, y, z] = self.0.each_ref().map(row);
        write!(f, "[{x}; {y}; {z}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qform(quaternion: [f32; 3], pixdim: [f32; 4]) -> Placement {
        Placement {
            sform_code: 0,
            qform_code: 1,
            rows: [[0.0; 4]; 3],
            quaternion: quaternion.map(f64::from),
            origin: [5.0, 6.0, 7.0],
            pixdim: pixdim.map(f64::from),
            epsilon: f64::from(f32::EPSILON),
        }
    }

    fn sform(rows: Affine) -> Placement {
        Placement {
            sform_code: 1,
            rows,
            ..qform([0.0; 3], [1.0; 4])
        }
    }

    fn diagonal(x: f64, y: f64, z: f64) -> Affine {
        [[x, 0.0, 0.0, 5.0], [0.0, y, 0.0, 6.0], [0.0, 0.0, z, 7.0]]
    }

    fn close(a: &Affine, b: &Affine) -> bool {
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5)
    }

    /// Each number from `nibabel.load(…).affine`, nibabel 5.4.2.
    #[test]
    fn qforms_are_read_as_nibabel_reads_them() {
        let still = [0.0; 3];
        for (what, quaternion, pixdim, expected) in [
            (
                "plain",
                still,
                [1.0, 2.0, 3.0, 4.0],
                diagonal(2.0, 3.0, 4.0),
            ),
            (
                "a spacing below 0",
                still,
                [1.0, -1.0, 3.0, 4.0],
                diagonal(1.0, 3.0, 4.0),
            ),
            (
                "another",
                still,
                [1.0, 2.0, 3.0, -4.0],
                diagonal(2.0, 3.0, 4.0),
            ),
            (
                "a spacing of 0",
                still,
                [1.0, 0.0, 3.0, 4.0],
                diagonal(1.0, 3.0, 4.0),
            ),
            (
                "left-handed",
                still,
                [-1.0, 2.0, 3.0, 4.0],
                diagonal(2.0, 3.0, -4.0),
            ),
            (
                "no handedness",
                still,
                [0.0, 2.0, 3.0, 4.0],
                diagonal(2.0, 3.0, 4.0),
            ),
            (
                "odd handedness",
                still,
                [-3.0, 2.0, 3.0, 4.0],
                diagonal(2.0, 3.0, 4.0),
            ),
            (
                "NaN handedness",
                still,
                [f32::NAN, 2.0, 3.0, 4.0],
                diagonal(2.0, 3.0, 4.0),
            ),
            (
                "BraTS",
                [0.0, 0.0, 1.0],
                [1.0; 4],
                diagonal(-1.0, -1.0, 1.0),
            ),
            (
                "oblique",
                [-0.6, 0.8, 0.0],
                [1.0, 2.0, 3.0, 4.0],
                [
                    [-0.56, -2.88, 0.0, 5.0],
                    [-1.92, 0.84, 0.0, 6.0],
                    [0.0, 0.0, -4.0, 7.0],
                ],
            ),
        ] {
            let affine = qform(quaternion, pixdim).affine().unwrap().unwrap();
            assert!(close(&affine, &expected), "{what}: {affine:?}");
        }
    }

    #[test]
    fn a_quaternion_longer_than_rounding_explains_is_refused() {
        let turned = |d: f32| qform([0.0, 0.0, d], [1.0; 4]).affine();
        // nibabel 5.4.2 reads 1 + 1e-7 and refuses 1 + 2e-7, which programs do write.
        for d in [1.0 + 1e-7, 1.0 + 2e-7] {
            assert!(close(
                &turned(d).unwrap().unwrap(),
                &diagonal(-1.0, -1.0, 1.0)
            ));
        }
        // nibabel: "w2 should be positive, but is -1.907350e-06", and -1.43.
        assert!(turned(1.0 + 1e-6).is_err());
        let error = qform([0.9; 3], [1.0; 4]).affine().unwrap_err();
        assert!(error.contains("longer than 1"), "{error}");
    }

    #[test]
    fn codes_choose_and_unknown_ones_are_none() {
        let both = sform(diagonal(-1.0, -1.0, 1.0));
        assert_eq!(both.affine(), Ok(Some(diagonal(-1.0, -1.0, 1.0))));
        // nibabel 5.4.2: "sform_code 7 not valid; setting to 0", the same for -1 and 6; 5 is that of a template.
        for code in [-1, 6, 7] {
            let other = Placement {
                sform_code: code,
                ..both.clone()
            };
            assert_eq!(other.affine(), Ok(Some(diagonal(1.0, 1.0, 1.0))), "{code}");
        }
        let template = Placement {
            sform_code: 5,
            ..both.clone()
        };
        assert_eq!(template.affine(), both.affine());
        let none = Placement {
            sform_code: 0,
            qform_code: 0,
            ..both
        };
        assert_eq!(none.affine(), Ok(None));
    }

    #[test]
    fn metres_are_a_size_and_a_plane_is_not_a_volume() {
        let metres = diagonal(-0.001, -0.0009, 0.001);
        assert_eq!(sform(metres).affine(), Ok(Some(metres)));
        for rows in [
            [[0.0; 4]; 3],
            [
                [1.0, 1.0, 0.0, 0.0],
                [1.0, 1.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
            ],
            [[f64::NAN; 4]; 3],
            diagonal(1.0, f64::INFINITY, 1.0),
        ] {
            assert!(sform(rows).affine().is_err(), "{rows:?}");
        }
    }

    #[test]
    fn one_place_in_another_order() {
        let straight = diagonal(-1.0, -2.0, 3.0);
        let grid = Grid {
            shape: [4, 5, 6],
            affine: &straight,
        };
        let map = |axis, flipped| AxisMap { axis, flipped };
        let same = grid.found_in(&grid).unwrap();
        assert_eq!(same, [0, 1, 2].map(|axis| map(axis, false)));
        // Axes to S, R, P; the second runs the other way, from the fourth voxel.
        let turned = [
            [0.0, 1.0, 0.0, 5.0 - 3.0],
            [0.0, 0.0, -2.0, 6.0],
            [3.0, 0.0, 0.0, 7.0],
        ];
        let other = Grid {
            shape: [6, 4, 5],
            affine: &turned,
        };
        assert_eq!(
            grid.found_in(&other).unwrap(),
            [map(1, true), map(2, false), map(0, false)]
        );
        let elsewhere = [turned[0], turned[1], [3.0, 0.0, 0.0, 7.5]];
        assert!(
            grid.found_in(&Grid {
                affine: &elsewhere,
                ..other
            })
            .is_none()
        );
        let smaller = Grid {
            shape: [6, 4, 4],
            ..other
        };
        assert!(grid.found_in(&smaller).is_none());
        assert!(
            grid.found_in(&Grid {
                affine: &IDENTITY,
                ..grid
            })
            .is_none()
        );
    }

    #[test]
    fn tolerance_goes_with_the_voxel() {
        let shifted = |by: f64, scale: f64| {
            let a = diagonal(-scale, -scale, scale);
            let b = [a[0], a[1], [0.0, 0.0, scale, 7.0 + by]];
            let shape = [4, 5, 6];
            Grid { shape, affine: &a }
                .found_in(&Grid { shape, affine: &b })
                .is_some()
        };
        assert!(shifted(0.009, 1.0) && !shifted(0.02, 1.0));
        // A voxel of a millimetre in metres: 9 mm are not rounding.
        assert!(shifted(0.000_09, 0.001) && !shifted(0.009, 0.001));
    }

    #[test]
    fn numbers_are_short() {
        let affine = [
            [-1.0, -0.0, 0.0, 90.5],
            [0.0, 0.1_f32.into(), 0.0, 0.0],
            IDENTITY[2],
        ];
        assert_eq!(
            Numbers(&affine).to_string(),
            "[-1 0 0 90.5; 0 0.1 0 0; 0 0 1 0]"
        );
    }
}
