//! What the header of a source file says of its geometry beside shape and affine: viewers disagree where a file written
//! beside it says less.

use serde::{Deserialize, Serialize};

/// Voxel to world, upper three rows.
type Affine = [[f64; 4]; 3];

/// Millimetres, as `xyzt_units` counts.
const MILLIMETRES: u8 = 2;

/// "Scanner based anatomical coordinates", as the codes of sform and qform count.
const SCANNER: i16 = 1;

/// Columns whose cosine is above this are no rotation, and a qform cannot say them.
const SHEARED: f64 = 1e-4;

/// The fields of a NIfTI header that say where voxels lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SourceHeader {
    /// What the world of the sform is; 0: there is none.
    pub sform_code: i16,
    /// The same of the qform.
    pub qform_code: i16,
    /// `pixdim[0..4]`: handedness of the qform, and length of a voxel along each axis.
    pub pixdim: [f64; 4],
    /// Units of length (lowest three bits) and time.
    pub xyzt_units: u8,
    /// b, c, d of the qform's rotation.
    pub quaternion: [f64; 3],
    /// The qform's place of voxel 0.
    pub offset: [f64; 3],
}

impl SourceHeader {
    /// The header that says no more than the affine: sform and qform of the scanner, millimetres. It stands for what a
    /// store does not say. A sheared affine has no qform.
    pub fn plain(affine: &Affine) -> Self {
        let column = |axis: usize| [0, 1, 2].map(|row: usize| affine[row][axis]);
        let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|n| a[n] * b[n]).sum::<f64>();
        let sides = [0, 1, 2].map(|axis| dot(column(axis), column(axis)).sqrt());
        let unit = [0, 1, 2].map(|axis| column(axis).map(|x| x / sides[axis]));
        let [x, y, z] = unit;
        let cross = [
            x[1] * y[2] - x[2] * y[1],
            x[2] * y[0] - x[0] * y[2],
            x[0] * y[1] - x[1] * y[0],
        ];
        let handedness = if dot(cross, z) < 0.0 { -1.0 } else { 1.0 };
        let upright = [dot(x, y), dot(y, z), dot(z, x)]
            .iter()
            .all(|cosine| cosine.abs() <= SHEARED);
        let origin = [0, 1, 2].map(|row: usize| affine[row][3]);
        let plain = Self {
            sform_code: SCANNER,
            qform_code: 0,
            pixdim: [handedness, sides[0], sides[1], sides[2]],
            xyzt_units: MILLIMETRES,
            quaternion: [0.0; 3],
            offset: [0.0; 3],
        };
        if !upright {
            return plain;
        }
        Self {
            qform_code: SCANNER,
            quaternion: quaternion([x, y, z.map(|part| part * handedness)]),
            offset: origin,
            ..plain
        }
    }

    /// As single precision has it, which is what most headers hold.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let numbers = self.pixdim.iter_mut().chain(&mut self.quaternion);
        for number in numbers.chain(&mut self.offset) {
            #[allow(clippy::cast_possible_truncation)]
            let single = *number as f32;
            // 0 has no sign here.
            *number = f64::from(single) + 0.0;
        }
        self
    }

    /// `None` for one that says no more than the affine does.
    pub fn beyond(self, affine: &Affine) -> Option<Self> {
        (self.rounded() != Self::plain(affine).rounded()).then_some(self)
    }

    /// Length of a voxel along each axis of the array, in millimetres. The affine counts where the header states one
    /// (it is in the same unit), else `pixdim`.
    pub fn spacing(&self, affine: &Affine) -> [f64; 3] {
        let unit = match self.xyzt_units & 7 {
            1 => 1_000.0,
            3 => 0.001,
            _ => 1.0,
        };
        let stated = self.sform_code > 0 || self.qform_code > 0;
        [0, 1, 2].map(|axis: usize| {
            let side = if stated {
                let column = affine.iter().map(|row| row[axis] * row[axis]);
                column.sum::<f64>().sqrt()
            } else {
                self.pixdim[axis + 1].abs()
            };
            if side.is_normal() { side * unit } else { unit }
        })
    }
}

/// b, c, d of the rotation whose columns these are, with a >= 0.
fn quaternion([x, y, z]: [[f64; 3]; 3]) -> [f64; 3] {
    // Squares of a, b, c, d; the largest is divided by.
    let squares = [
        1.0 + x[0] + y[1] + z[2],
        1.0 + x[0] - y[1] - z[2],
        1.0 - x[0] + y[1] - z[2],
        1.0 - x[0] - y[1] + z[2],
    ];
    let largest = (0..4).max_by(|m, n| squares[*m].total_cmp(&squares[*n]));
    let twice = |n: usize| squares[n].max(0.0).sqrt();
    let [a, b, c, d] = match largest {
        Some(1) => {
            let b = twice(1);
            [(y[2] - z[1]) / b, b, (x[1] + y[0]) / b, (x[2] + z[0]) / b]
        }
        Some(2) => {
            let c = twice(2);
            [(z[0] - x[2]) / c, (x[1] + y[0]) / c, c, (y[2] + z[1]) / c]
        }
        Some(3) => {
            let d = twice(3);
            [(x[1] - y[0]) / d, (x[2] + z[0]) / d, (y[2] + z[1]) / d, d]
        }
        _ => {
            let a = twice(0);
            [a, (y[2] - z[1]) / a, (z[0] - x[2]) / a, (x[1] - y[0]) / a]
        }
    };
    let sense = if a < 0.0 { -0.5 } else { 0.5 };
    [b, c, d].map(|part| part * sense)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nibabel.Nifti1Header.set_qform` and `get_qform(coded=True)`, nibabel 5.4.2.
    #[test]
    fn the_qform_of_an_affine_is_nibabels() {
        let header = SourceHeader::plain(&[
            [-1.0, 0.0, 0.0, 0.0],
            [0.0, -1.0, 0.0, 239.0],
            [0.0, 0.0, 1.0, 0.0],
        ]);
        assert_eq!(header.quaternion, [0.0, 0.0, 1.0]);
        assert_eq!(header.pixdim, [1.0; 4]);
        assert_eq!(header.offset, [0.0, 239.0, 0.0]);
        let oblique = SourceHeader::plain(&[
            [-0.56, -2.88, 0.0, 5.0],
            [-1.92, 0.84, 0.0, 6.0],
            [0.0, 0.0, -4.0, 7.0],
        ]);
        let close = |found: &[f64], want: &[f64]| {
            found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(
            close(&oblique.quaternion, &[0.6, -0.8, 0.0])
                || close(&oblique.quaternion, &[-0.6, 0.8, 0.0])
        );
        assert!(close(&oblique.pixdim, &[1.0, 2.0, 3.0, 4.0]));
        // S, R, A, left-handed: turned and mirrored.
        let turned = SourceHeader::plain(&[
            [0.0, 2.0, 0.0, -1.0],
            [0.0, 0.0, 1.5, -2.0],
            [3.0, 0.0, 0.0, 4.0],
        ]);
        assert!(close(&turned.quaternion, &[-0.5, -0.5, -0.5]), "{turned:?}");
        assert!(close(&turned.pixdim, &[1.0, 3.0, 2.0, 1.5]));
    }

    #[test]
    fn a_sheared_affine_has_an_sform_only() {
        let header = SourceHeader::plain(&[
            [1.0, 0.2, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ]);
        assert_eq!((header.sform_code, header.qform_code), (1, 0));
    }

    #[test]
    fn spacing_is_in_millimetres() {
        let metres = [
            [-0.001, 0.0, 0.0, 0.0],
            [0.0, 0.002, 0.0, 0.0],
            [0.0, 0.0, 0.003, 0.0],
        ];
        let header = SourceHeader {
            xyzt_units: 1 + 8,
            ..SourceHeader::plain(&metres)
        };
        let close = |found: [f64; 3], want: [f64; 3]| {
            found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        assert!(close(header.spacing(&metres), [1.0, 2.0, 3.0]));
        let unstated = SourceHeader {
            sform_code: 0,
            qform_code: 0,
            pixdim: [0.0, 0.9, 0.0, -5.0],
            xyzt_units: 0,
            ..header
        };
        assert!(close(unstated.spacing(&metres), [0.9, 1.0, 5.0]));
    }

    #[test]
    fn what_says_no_more_than_the_affine_is_left_out() {
        let affine = [
            [-1.0, 0.0, 0.0, 0.1],
            [0.0, -1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let plain = SourceHeader::plain(&affine);
        assert_eq!(plain.rounded().beyond(&affine), None);
        let other = SourceHeader {
            qform_code: 2,
            ..plain
        };
        assert_eq!(other.beyond(&affine), Some(other));
    }
}
