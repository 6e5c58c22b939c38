//! A volume seen along the axes of its data set.

use anofpdm_common::store::slices::{AxisMap, nearest_axes};

use super::Volume;
use super::affine::{Affine, IDENTITY};

impl Volume {
    /// The volume seen along the axes of `orientation`.
    pub fn oriented(&self, orientation: Orientation) -> Oriented<'_> {
        self.along(orientation.axes(&self.affine))
    }

    /// The volume seen along `axes` of its own.
    pub(crate) fn along(&self, axes: [AxisMap; 3]) -> Oriented<'_> {
        let strides = [1, self.shape[0], self.shape[0] * self.shape[1]];
        let start = axes
            .iter()
            .filter(|map| map.flipped)
            .map(|map| (self.shape[map.axis] - 1) * strides[map.axis])
            .sum();
        Oriented {
            values: &self.values,
            shape: axes.map(|map| self.shape[map.axis]),
            start,
            strides: axes.map(|map| strides[map.axis]),
            axes,
        }
    }

    /// The same volume with its axes as `axes` lie in it, which the caller knows to have this affine.
    pub fn reordered(self, axes: [AxisMap; 3], affine: Affine) -> Self {
        let unchanged = (0..)
            .zip(axes)
            .all(|(axis, map)| map.axis == axis && !map.flipped);
        if unchanged {
            return Self { affine, ..self };
        }
        let view = self.along(axes);
        let [width, height, depth] = view.shape;
        let mut values = vec![0.0; self.values.len()];
        for z in 0..depth {
            for (index, value) in view.slice(z).enumerate() {
                let (x, y) = (index / height, index % height);
                values[x + width * (y + height * z)] = value;
            }
        }
        Self {
            shape: view.shape,
            affine,
            values,
            ..self
        }
    }
}

/// A volume seen with its axes permuted and flipped.
#[derive(Debug)]
pub struct Oriented<'a> {
    values: &'a [f64],
    /// Voxels along each oriented axis.
    pub shape: [usize; 3],
    start: usize,
    strides: [usize; 3],
    /// Where each oriented axis lies in the file.
    pub axes: [AxisMap; 3],
}

impl Oriented<'_> {
    /// Slice `z` across the third axis: [first axis, second axis], row-major.
    pub fn slice(&self, z: usize) -> impl Iterator<Item = f64> {
        let [rows, columns, _] = self.shape;
        let at = |from: usize, axis: usize, steps: usize| {
            let distance = self.strides[axis] * steps;
            if self.axes[axis].flipped {
                from - distance
            } else {
                from + distance
            }
        };
        let corner = at(self.start, 2, z);
        (0..rows).flat_map(move |row| {
            let left = at(corner, 0, row);
            (0..columns).map(move |column| self.values[at(left, 1, column)])
        })
    }
}

/// The directions that the axes of a data set's arrays run to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// Left, posterior, superior: BraTS.
    Lps,
    /// Right, anterior, superior: the MNI grid of ATLAS.
    Ras,
}

impl Orientation {
    /// Where its three axes run to, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Lps => "to the left, the back and the head",
            Self::Ras => "to the right, the front and the head",
        }
    }

    /// Which source axis, and in which sense, runs along each axis of this orientation.
    ///
    /// An identity affine (voxel 0 at the world's origin, axes of the array taken for those of the world) is what
    /// software writes that knows no orientation: the array is then taken as it is.
    pub fn axes(self, affine: &Affine) -> [AxisMap; 3] {
        if *affine == IDENTITY {
            return [0, 1, 2].map(|axis| AxisMap {
                axis,
                flipped: false,
            });
        }
        let sense = match self {
            Self::Lps => [-1.0, -1.0, 1.0],
            Self::Ras => [1.0, 1.0, 1.0],
        };
        let best = nearest_axes(affine).unwrap_or([0, 1, 2]);
        [0, 1, 2].map(|world| AxisMap {
            axis: best[world],
            flipped: affine[world][best[world]] * sense[world] < 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anofpdm_common::store::slices::SourceHeader;

    const LPS: Affine = [
        [-1.0, 0.0, 0.0, 10.0],
        [0.0, -1.0, 0.0, 3.0],
        [0.0, 0.0, 1.0, 0.0],
    ];

    fn numbered(shape: [usize; 3], affine: Affine) -> Volume {
        let count: u32 = shape.iter().product::<usize>().try_into().unwrap();
        Volume {
            shape,
            affine,
            header: SourceHeader::plain(&affine),
            scaling: None,
            values: (0..count).map(f64::from).collect(),
        }
    }

    #[test]
    fn a_slice_is_first_axis_by_second_axis() {
        let volume = numbered([2, 3, 2], LPS);
        let view = volume.oriented(Orientation::Lps);
        assert_eq!(
            view.slice(1).collect::<Vec<_>>(),
            [6.0, 8.0, 10.0, 7.0, 9.0, 11.0]
        );
    }

    #[test]
    fn flips_and_permutations_come_back() {
        // The source runs to S, R, A: axis 0 to the head, 1 to the right, 2 to the front.
        let affine = [
            [0.0, 2.0, 0.0, -1.0],
            [0.0, 0.0, 1.0, -1.0],
            [3.0, 0.0, 0.0, 0.0],
        ];
        let volume = numbered([2, 3, 4], affine);
        let view = volume.oriented(Orientation::Lps);
        assert_eq!(view.shape, [3, 4, 2]);
        let at = |s: usize, r: usize, a: usize| volume.values[s + 2 * (r + 3 * a)];
        let slice: Vec<f64> = view.slice(1).collect();
        // To the left is backwards along r, to the back is backwards along a.
        assert_eq!(slice[0], at(1, 2, 3));
        assert_eq!(slice[1], at(1, 2, 2));
        assert_eq!(slice[4], at(1, 1, 3));
        let ras = volume.oriented(Orientation::Ras);
        assert_eq!(ras.slice(0).next(), Some(at(0, 0, 0)));
    }

    #[test]
    fn an_oblique_scan_takes_the_nearest_axes() {
        let (cos, sin) = (0.8, 0.6);
        let affine = [
            [-cos, sin, 0.0, 0.0],
            [-sin, -cos, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let axes = Orientation::Lps.axes(&affine);
        assert_eq!(
            axes.map(|map| (map.axis, map.flipped)),
            [(0, false), (1, false), (2, false)]
        );
    }

    #[test]
    fn the_identity_says_nothing() {
        assert!(
            Orientation::Lps
                .axes(&IDENTITY)
                .iter()
                .all(|map| !map.flipped)
        );
    }

    #[test]
    fn reordered_is_the_same_places_in_another_order() {
        let affine = [
            [0.0, 2.0, 0.0, -1.0],
            [0.0, 0.0, 1.0, -1.0],
            [3.0, 0.0, 0.0, 0.0],
        ];
        let volume = numbered([2, 3, 4], affine);
        let axes = Orientation::Lps.axes(&affine);
        let expected: Vec<f64> = (0..2)
            .flat_map(|z| volume.along(axes).slice(z).collect::<Vec<_>>())
            .collect();
        let turned = volume.reordered(axes, LPS);
        assert_eq!((turned.shape, turned.affine), ([3, 4, 2], LPS));
        let view = turned.oriented(Orientation::Lps);
        let got: Vec<f64> = (0..2)
            .flat_map(|z| view.slice(z).collect::<Vec<_>>())
            .collect();
        assert_eq!(got, expected);
    }
}
