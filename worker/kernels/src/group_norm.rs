//! GroupNorm with scale, shift and SiLU over channels-last maps on the CPU, in two passes over memory.
//!
//! ATen's own needs one more pass for the SiLU and one more for joined inputs, and on small maps of few channels a
//! group its channels-last version is some forty times slower than its other one.
//!
//! Sums run over blocks of a fixed size in a fixed order, so the bits do not depend on the number of threads. Products
//! and sums stay apart, so the bits do not depend on the width of the vector instructions either.

use std::mem::MaybeUninit;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{Number, Wide};

/// Channels whose sums are kept in registers at once; widths are multiples of 32.
const LANES: usize = 16;
/// Pixels summed in the format of the maps before their sum is added up in float64.
const CHUNK: usize = 64;
/// Values of a block, the share of one task: fits a core's own cache.
const BLOCK_VALUES: usize = 1 << 16;

/// A channels-last map: values `[rows, pixels, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub channels: usize,
}

/// What is multiplied and added after normalisation, a value a channel.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a, W> {
    pub gain: &'a [W],
    pub offset: &'a [W],
}

/// One normalisation. The sources are joined along their channels; one with fewer rows than the result serves it
/// several times over. Row r of the result takes `affines[r / (rows / affines.len())]`.
#[derive(Debug, Clone, Copy)]
pub struct Normalisation<'a, T: Number> {
    pub sources: &'a [Source<'a, T>],
    pub rows: usize,
    pub pixels: usize,
    pub groups: usize,
    pub eps: f64,
    pub affines: &'a [Affine<'a, T::Wide>],
    pub silu: bool,
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
    pub fn run<O: Number<Wide = T::Wide>>(&self, out: &mut [MaybeUninit<O>]) {
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
