//! GroupNorm with scale, shift and SiLU over channels-last maps on the CPU, in two passes over memory.
//!
//! ATen's own needs one more pass for the SiLU and one more for joined inputs, and on small maps of few channels a
//! group its channels-last version is some forty times slower than its other one.
//!
//! Sums run over blocks of a fixed size in a fixed order, so the bits do not depend on the number of threads. The loops are
//! compiled for each width of vector instructions ([`pulp`]); products and sums stay apart, so the bits do not depend on
//! that either.

use std::mem::MaybeUninit;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::torch::memory::{Bf16, Element};

/// Channels whose sums are kept in registers at once; widths are multiples of 32.
const LANES: usize = 16;
/// Pixels summed in the format of the maps before their sum is added up in float64.
const CHUNK: usize = 64;
/// Values of a block, the share of one task: fits a core's own cache.
const BLOCK_VALUES: usize = 1 << 16;

/// What the arithmetic on values of a format is done in.
pub(super) trait Wide: Element + PartialEq + std::fmt::Debug {
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `x / (1 + exp(-x))`
    fn silu(self) -> Self;
}

/// A format that maps are stored in.
pub(super) trait Number: Element {
    type Wide: Wide;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! wide {
    ($float:ty, $silu:expr) => {
        impl Wide for $float {
            #[inline(always)]
            #[allow(clippy::cast_possible_truncation)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn silu(self) -> Self {
                self / (1.0 + $silu(-self))
            }
        }

        impl Number for $float {
            type Wide = Self;
            #[inline(always)]
            fn widen(self) -> Self {
                self
            }
            #[inline(always)]
            fn narrow(wide: Self) -> Self {
                wide
            }
        }
    };
}

wide!(f32, exp_f32);
wide!(f64, f64::exp);

impl Number for Bf16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// To the nearest, halves to even; NaN stays NaN.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    fn narrow(wide: f32) -> Self {
        let bits = wide.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        Self(if wide.is_nan() {
            0x7fc0
        } else {
            rounded as u16
        })
    }
}

/// e^x to 2 ulp, without branches so that loops over it become vector code. Beyond ±87 the value at ±87.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 in two parts; the first has so few bits that its multiples are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * LOG2_E + ROUNDER;
    let power = rounded - ROUNDER;
    let r = (x - power * LN2_HIGH) - power * LN2_LOW;
    // Cephes' polynomial for e^r on |r| <= ln 2 / 2.
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    // 2^power: its exponent bits are the low bits of `rounded`, moved up.
    e * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

/// A channels-last map: values `[rows, pixels, channels]`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    pub(super) values: &'a [T],
    pub(super) rows: usize,
    pub(super) channels: usize,
}

/// What is multiplied and added after normalisation, a value a channel.
#[derive(Clone, Copy)]
pub(super) struct Affine<'a, W> {
    pub(super) gain: &'a [W],
    pub(super) offset: &'a [W],
}

/// One normalisation. The sources are joined along their channels; one with fewer rows than the result serves it
/// several times over. Row r of the result takes `affines[r / (rows / affines.len())]`.
pub(super) struct Normalisation<'a, T: Number> {
    pub(super) sources: &'a [Source<'a, T>],
    pub(super) rows: usize,
    pub(super) pixels: usize,
    pub(super) groups: usize,
    pub(super) eps: f64,
    pub(super) affines: &'a [Affine<'a, T::Wide>],
    pub(super) silu: bool,
}

/// Sum and sum of squares of one channel of one row, both of the distance from `pivot`.
#[derive(Clone, Copy, Default)]
struct Moments {
    pivot: f64,
    sum: f64,
    squares: f64,
}

impl<T: Number> Normalisation<'_, T> {
    /// Writes all of `out`, `[rows, pixels, channels of all sources]`.
    pub(super) fn run<O: Number<Wide = T::Wide>>(&self, out: &mut [MaybeUninit<O>]) {
        let moments: Vec<Vec<Moments>> = self
            .sources
            .iter()
            .map(|source| self.moments(source))
            .collect();
        let channels: usize = self.sources.iter().map(|s| s.channels).sum();
        let branch_rows = self.rows / self.affines.len().max(1);
        let lines: Vec<Line<T::Wide>> = (0..self.rows)
            .map(|row| self.line(row, &moments, &self.affines[row / branch_rows.max(1)]))
            .collect();

        let block = block_pixels(channels);
        let blocks = self.pixels.div_ceil(block);
        let tasks: Vec<(usize, &mut [MaybeUninit<O>])> = out
            .chunks_mut((self.pixels * channels).max(1))
            .flat_map(|row| row.chunks_mut((block * channels).max(1)))
            .enumerate()
            .collect();
        let arch = Arch::new();
        each(tasks, |(task, out)| {
            let (row, first) = (task / blocks, task % blocks * block);
            let mut at = 0;
            for source in self.sources {
                let width = source.channels;
                let start = ((row % source.rows) * self.pixels + first) * width;
                let pixels = out.len() / channels;
                arch.dispatch(Applied {
                    out: &mut *out,
                    channels,
                    at,
                    values: &source.values[start..start + pixels * width],
                    factors: &lines[row].factors[at..at + width],
                    summands: &lines[row].summands[at..at + width],
                    silu: self.silu,
                });
                at += width;
            }
        });
    }

    /// Moments of every row and channel of a source.
    fn moments(&self, source: &Source<'_, T>) -> Vec<Moments> {
        let width = source.channels;
        let block = block_pixels(width);
        let tasks: Vec<(&[T], &[T])> = source
            .values
            .chunks((self.pixels * width).max(1))
            .flat_map(|row| {
                row.chunks(block * width)
                    .map(move |part| (&row[..width], part))
            })
            .collect();
        let arch = Arch::new();
        let parts = collect(tasks, |(pivot, values)| {
            arch.dispatch(BlockMoments { pivot, values })
        });
        let blocks = self.pixels.div_ceil(block);
        parts
            .chunks(blocks.max(1))
            .flat_map(|row| {
                let mut total = row[0].clone();
                for part in &row[1..] {
                    for (total, part) in total.iter_mut().zip(part) {
                        total.sum += part.sum;
                        total.squares += part.squares;
                    }
                }
                total
            })
            .collect()
    }

    /// Factor and summand of every channel of one row.
    fn line(
        &self,
        row: usize,
        moments: &[Vec<Moments>],
        affine: &Affine<'_, T::Wide>,
    ) -> Line<T::Wide> {
        let of_row: Vec<Moments> = self
            .sources
            .iter()
            .zip(moments)
            .flat_map(|(source, moments)| {
                moments[row % source.rows * source.channels..][..source.channels].iter()
            })
            .copied()
            .collect();
        let size = of_row.len() / self.groups;
        #[allow(clippy::cast_precision_loss)] // maps are small
        let (pixels, members) = (self.pixels as f64, size as f64);
        let mut line = Line {
            factors: Vec::with_capacity(of_row.len()),
            summands: Vec::with_capacity(of_row.len()),
        };
        for (group, channels) in of_row.chunks(size).enumerate() {
            let mean_of = |m: &Moments| m.pivot + m.sum / pixels;
            let mean = channels.iter().map(mean_of).sum::<f64>() / members;
            // Within the channels, and between them.
            let spread: f64 = channels
                .iter()
                .map(|m| m.squares - m.sum * m.sum / pixels + pixels * (mean_of(m) - mean).powi(2))
                .sum();
            let deviation = (spread / (pixels * members) + self.eps).sqrt();
            for channel in group * size..(group + 1) * size {
                let factor = affine.gain[channel].to_f64() / deviation;
                let summand = affine.offset[channel].to_f64() - mean * factor;
                line.factors.push(T::Wide::from_f64(factor));
                line.summands.push(T::Wide::from_f64(summand));
            }
        }
        line
    }
}

fn block_pixels(channels: usize) -> usize {
    (BLOCK_VALUES / channels.max(1)).next_multiple_of(CHUNK)
}

/// Moments of the channels of some pixels, `values` `[pixels, channels]`, about `pivot` `[channels]`.
struct BlockMoments<'a, T> {
    pivot: &'a [T],
    values: &'a [T],
}

impl<T: Number> WithSimd for BlockMoments<'_, T> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Moments> {
        let width = self.pivot.len();
        let mut moments = Vec::with_capacity(width);
        for pivot in self.pivot {
            moments.push(Moments {
                pivot: pivot.widen().to_f64(),
                ..Moments::default()
            });
        }
        let zero = T::Wide::from_f64(0.0);
        for chunk in self.values.chunks(CHUNK * width) {
            for (lane, moments) in moments.chunks_exact_mut(LANES).enumerate() {
                let at = lane * LANES;
                let (mut sums, mut squares) = ([zero; LANES], [zero; LANES]);
                let mut about = [zero; LANES];
                for (about, pivot) in about.iter_mut().zip(&self.pivot[at..at + LANES]) {
                    *about = pivot.widen();
                }
                for pixel in chunk.chunks_exact(width) {
                    let values = &pixel[at..at + LANES];
                    for i in 0..LANES {
                        let distance = values[i].widen().sub(about[i]);
                        sums[i] = sums[i].add(distance);
                        squares[i] = squares[i].add(distance.mul(distance));
                    }
                }
                for (i, moments) in moments.iter_mut().enumerate() {
                    moments.sum += sums[i].to_f64();
                    moments.squares += squares[i].to_f64();
                }
            }
        }
        moments
    }
}

/// Factor and summand of every channel of a row.
struct Line<W> {
    factors: Vec<W>,
    summands: Vec<W>,
}

/// One source's channels of some pixels, which lie from `at` on among the `channels` of each pixel of the result.
struct Applied<'a, T: Number, O> {
    out: &'a mut [MaybeUninit<O>],
    channels: usize,
    at: usize,
    values: &'a [T],
    factors: &'a [T::Wide],
    summands: &'a [T::Wide],
    silu: bool,
}

impl<T: Number, O: Number<Wide = T::Wide>> WithSimd for Applied<'_, T, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.factors.len();
        let summands = &self.summands[..width];
        let pixels = self.out.chunks_exact_mut(self.channels);
        for (out, values) in pixels.zip(self.values.chunks_exact(width)) {
            let out = &mut out[self.at..self.at + width];
            if self.silu {
                for i in 0..width {
                    let normed = values[i].widen().mul(self.factors[i]).add(summands[i]);
                    out[i].write(O::narrow(normed.silu()));
                }
            } else {
                for i in 0..width {
                    let normed = values[i].widen().mul(self.factors[i]).add(summands[i]);
                    out[i].write(O::narrow(normed));
                }
            }
        }
    }
}

/// On the threads that post-processing uses too; with one of them, here.
fn each<I: Send>(tasks: Vec<I>, work: impl Fn(I) + Sync + Send) {
    if alone(tasks.len()) {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().for_each(work);
    }
}

fn collect<I: Send, R: Send>(tasks: Vec<I>, work: impl Fn(I) -> R + Sync + Send) -> Vec<R> {
    if alone(tasks.len()) {
        tasks.into_iter().map(work).collect()
    } else {
        tasks.into_par_iter().map(work).collect()
    }
}

fn alone(tasks: usize) -> bool {
    tasks <= 1 || rayon::current_num_threads() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential() {
        for i in -8700..=8700 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let error = (f64::from(exp_f32(x)) - want).abs() / want;
            assert!(error < 2.4e-7, "{x}: {error}");
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert!((-100.0_f32).silu().abs() < 1e-30);
        assert_eq!(100.0_f32.silu(), 100.0);
        assert!(f32::NAN.silu().is_nan());
    }

    #[test]
    fn bfloat16_rounds_to_nearest_even() {
        for (wide, bits) in [
            (1.0_f32, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (1.003_906_4, 0x3f81),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (-2.5, 0xc020),
            (f32::INFINITY, 0x7f80),
        ] {
            assert_eq!(Bf16::narrow(wide), Bf16(bits), "{wide}");
        }
        assert!(Bf16::narrow(f32::NAN).widen().is_nan());
        assert!(Bf16::narrow(f32::from_bits(0x7fff_ffff)).widen().is_nan());
    }
}
