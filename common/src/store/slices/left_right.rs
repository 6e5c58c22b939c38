//! Which axis of a stored slice runs between the patient's left and right.
//!
//! The axes of a volume's array are those of the world as the affine of its file says; a layout then permutes and
//! reverses them, and [`SourceGrid::axes`] says how. Both together give the axis, whatever the layout.

use super::subject_file::{AxisMap, SourceGrid};

/// An axis of a stored slice, `[H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceAxis {
    /// From row to row: the first axis, H.
    Rows,
    /// From column to column: the second axis, W.
    Columns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLeftRight {
    #[error("its volumes have no orientation (their affine is the identity)")]
    NoOrientation,
    #[error("its affine is not invertible")]
    NoAffine,
    #[error("its slices are stacked from left to right, so that none shows both sides")]
    Across,
}

/// An affine that says nothing of the patient: axes of the array taken for those of the world.
const IDENTITY: [[f64; 4]; 3] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
];

/// The assignments of array axes to world axes.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

impl SourceGrid {
    /// The axis of this subject's stored slices along which left and right lie, oblique scans by the nearest axis.
    pub fn left_right(&self) -> Result<SliceAxis, NoLeftRight> {
        if self.affine == IDENTITY {
            return Err(NoLeftRight::NoOrientation);
        }
        let [across, ..] = nearest_axes(&self.affine).ok_or(NoLeftRight::NoAffine)?;
        let lies = |map: &AxisMap| map.axis == across;
        match self.axes.iter().position(lies) {
            Some(0) => Ok(SliceAxis::Rows),
            Some(1) => Ok(SliceAxis::Columns),
            _ => Err(NoLeftRight::Across),
        }
    }
}

/// For each world axis (side to side, front and back, feet and head) the array axis that stands for it, where all three
/// lie as close to the world's as they can; `None` for what is no affine.
pub fn nearest_axes(affine: &[[f64; 4]; 3]) -> Option<[usize; 3]> {
    let length = [0, 1, 2].map(|axis| {
        let squares = affine.iter().map(|row| row[axis] * row[axis]);
        squares.sum::<f64>().sqrt()
    });
    if length.iter().any(|side| !side.is_normal()) {
        return None;
    }
    let closeness = |order: &[usize; 3]| {
        let along = order.iter().zip(affine);
        along
            .map(|(axis, row)| (row[*axis] / length[*axis]).abs())
            .sum::<f64>()
    };
    let best = ORDERS
        .iter()
        .max_by(|a, b| closeness(a).total_cmp(&closeness(b)));
    best.copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(affine: [[f64; 4]; 3], axes: [usize; 3]) -> SourceGrid {
        SourceGrid {
            shape: [4, 5, 6],
            affine,
            axes: axes.map(|axis| AxisMap {
                axis,
                flipped: axis == 1,
            }),
            canvas: [4, 5],
            padding: [0, 0],
            header: None,
        }
    }

    /// Left, back, head, as BraTS has it.
    const LPS: [[f64; 4]; 3] = [
        [-1.0, 0.0, 0.0, 0.0],
        [0.0, -1.0, 0.0, 239.0],
        [0.0, 0.0, 1.0, 0.0],
    ];

    #[test]
    fn the_axis_follows_from_affine_and_order() {
        assert_eq!(grid(LPS, [0, 1, 2]).left_right(), Ok(SliceAxis::Rows));
        assert_eq!(grid(LPS, [1, 0, 2]).left_right(), Ok(SliceAxis::Columns));
        assert_eq!(grid(LPS, [1, 2, 0]).left_right(), Err(NoLeftRight::Across));
        // A sagittal scan, 1 x 0.9 x 0.9 mm: the array runs to the back, the feet, the right.
        let sagittal = [
            [0.0, 0.0, 1.0, -80.0],
            [-0.9, 0.0, 0.0, 110.0],
            [0.0, -0.9, 0.0, 120.0],
        ];
        assert_eq!(grid(sagittal, [2, 0, 1]).left_right(), Ok(SliceAxis::Rows));
        assert_eq!(
            grid(sagittal, [0, 2, 1]).left_right(),
            Ok(SliceAxis::Columns)
        );
        // Tilted by 20 degrees about the axis from left to right and by 10 about that to the head; thick slices.
        let oblique = [
            [-0.985, 0.174, 0.0, 3.0],
            [-0.163, -0.925, -1.7, 90.0],
            [0.059, 0.337, -4.7, 20.0],
        ];
        assert_eq!(grid(oblique, [0, 1, 2]).left_right(), Ok(SliceAxis::Rows));
    }

    #[test]
    fn what_does_not_say_is_refused() {
        let refused = |affine| grid(affine, [0, 1, 2]).left_right();
        assert_eq!(refused(IDENTITY), Err(NoLeftRight::NoOrientation));
        assert_eq!(refused([[0.0; 4]; 3]), Err(NoLeftRight::NoAffine));
        let mut infinite = LPS;
        infinite[1][1] = f64::INFINITY;
        assert_eq!(refused(infinite), Err(NoLeftRight::NoAffine));
    }
}
