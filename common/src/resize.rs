//! Bilinear resize with half-pixel centres and no antialiasing.

use std::ops::{Add, Mul, Sub};

/// f64 for images, f32 for masks: the precision is part of the definition, since a mask is compared with 0.5 after it.
pub trait Sample: Copy + Add<Output = Self> + Mul<Output = Self> + Sub<Output = Self> {
    /// 1.
    const ONE: Self;
    /// The source position of output pixel `index`, not below 0: `(index + 1/2) input / output - 1/2`.
    fn position(index: usize, input: usize, output: usize) -> Self;
    /// Whole part and the rest of a position.
    fn split(self) -> (usize, Self);
}

macro_rules! sample {
    ($float:ty) => {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        impl Sample for $float {
            const ONE: Self = 1.0;

            fn position(index: usize, input: usize, output: usize) -> Self {
                let scale = input as Self / output as Self;
                (scale * (index as Self + 0.5) - 0.5).max(0.0)
            }

            fn split(self) -> (usize, Self) {
                let whole = self.floor();
                (whole as usize, self - whole)
            }
        }
    };
}
sample!(f32);
sample!(f64);

/// Two neighbours along an axis and the weight of the second.
#[derive(Clone, Copy)]
struct Tap<T> {
    first: usize,
    second: usize,
    weight: T,
}

/// Where the pixels of one axis come from.
fn taps<T: Sample>(input: usize, output: usize) -> Vec<Tap<T>> {
    (0..output)
        .map(|index| {
            let (whole, weight) = T::position(index, input, output).split();
            let first = whole.min(input - 1);
            Tap {
                first,
                second: (first + 1).min(input - 1),
                weight,
            }
        })
        .collect()
}

/// A resize of images `[height, width]` to one size.
pub struct Resize<T> {
    input: [usize; 2],
    rows: Vec<Tap<T>>,
    columns: Vec<Tap<T>>,
}

impl<T> std::fmt::Debug for Resize<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Resize({:?} to [{}, {}])",
            self.input,
            self.rows.len(),
            self.columns.len()
        )
    }
}

impl<T: Sample> Resize<T> {
    /// From `input` to `output`, both [height, width].
    ///
    /// # Panics
    /// When a side is 0.
    pub fn new(input: [usize; 2], output: [usize; 2]) -> Self {
        assert!(
            input.iter().chain(&output).all(|side| *side > 0),
            "an image without pixels. This is a bug."
        );
        Self {
            input,
            rows: taps(input[0], output[0]),
            columns: taps(input[1], output[1]),
        }
    }

    /// Resizes `image`, row-major.
    ///
    /// # Panics
    /// When `image` has another size than was announced.
    pub fn apply(&self, image: &[T]) -> Vec<T> {
        let [height, width] = self.input;
        assert_eq!(
            image.len(),
            height * width,
            "image of another size. This is a bug."
        );
        let mut out = Vec::with_capacity(self.rows.len() * self.columns.len());
        for row in &self.rows {
            let above = &image[row.first * width..(row.first + 1) * width];
            let below = &image[row.second * width..(row.second + 1) * width];
            out.extend(self.columns.iter().map(|column| {
                let along = |line: &[T]| {
                    (T::ONE - column.weight) * line[column.first]
                        + column.weight * line[column.second]
                };
                (T::ONE - row.weight) * along(above) + row.weight * along(below)
            }));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_identity() {
        let image: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(Resize::new([3, 4], [3, 4]).apply(&image), image);
    }

    #[test]
    fn halving_averages_the_middle_pixels() {
        assert_eq!(
            Resize::<f32>::new([1, 4], [1, 2]).apply(&[0.0, 1.0, 2.0, 3.0]),
            [0.5, 2.5]
        );
    }

    #[test]
    fn edges_are_repeated_when_enlarging() {
        assert_eq!(
            Resize::<f64>::new([1, 2], [1, 4]).apply(&[0.0, 1.0]),
            [0.0, 0.25, 0.75, 1.0]
        );
    }
}
