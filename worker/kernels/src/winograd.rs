//! 3x3 convolutions of channels-last float32 maps on the CPU by Winograd's F(2x2, 3x3).
//!
//! Four output pixels of a channel pair take 16 multiplications instead of 36 (Lavin and Gray, 2016). A tile of 4x4
//! input pixels d and a kernel g are transformed, multiplied element by element, summed over the input channels, and
//! transformed back: `A' [sum (G g G') (B' d B)] A`. The sums over channels are 16 matrix products; a block of
//! tiles stays in a core's cache from the first transform to the last. In real arithmetic this is the convolution;
//! in float32 its rounding is a few times that of the direct sum.
//!
//! Every sum runs over the channels in order with fused multiply-adds, so the bits depend neither on the number of
//! threads nor on the width of the vector instructions. The caller transforms the kernels: `G g G'` in float64.

mod product;

use std::mem::MaybeUninit;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use product::multiply;

/// Products of a tile, and of a kernel.
const POINTS: usize = 16;
/// Output channels of a panel of transformed weights; widths are multiples of it.
pub const PANEL: usize = 32;
/// Rows of tiles that one task takes hold about this many.
const TASK_TILES: usize = 64;
/// Values of one point of a block, of all its input and output channels: sixteen times as many fit half a core's
/// second-level cache. Blocks of many channels are larger, or the weights would be read more than all else.
const BLOCK_VALUES: usize = 8192;
/// Values between the points of a block: without them the sixteen places of a tile are powers of two apart and
/// displace one another from the cache.
const GAP: usize = 16;

/// A convolution with transformed weights.
pub struct Winograd {
    inputs: usize,
    outputs: usize,
    /// `[16, outputs / 32, inputs, 32]`
    weights: Vec<f32>,
    /// `[outputs]`
    bias: Vec<f32>,
}

impl std::fmt::Debug for Winograd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Winograd")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// What the instructions of this machine must offer for it to pay.
pub fn has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

impl Winograd {
    /// Of transformed kernels `[16, outputs / PANEL, inputs, PANEL]` and a bias `[outputs]`; `None` where the widths are
    /// no multiples of [`PANEL`] or the lengths differ.
    pub fn new(inputs: usize, outputs: usize, weights: Vec<f32>, bias: Vec<f32>) -> Option<Self> {
        let fits = inputs.is_multiple_of(PANEL)
            && outputs.is_multiple_of(PANEL)
            && weights.len() == POINTS * inputs * outputs
            && bias.len() == outputs;
        fits.then_some(Self {
            inputs,
            outputs,
            weights,
            bias,
        })
    }

    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Writes all of `out`, `[rows, height, width, outputs]`. The map has [`Self::inputs`] channels and even sides.
    pub fn run(&self, map: &Map<'_>, out: &mut [MaybeUninit<f32>]) {
        // Two output rows a row of tiles; rows of several slices may be in one block.
        let bands = (TASK_TILES / (map.width / 2)).max(1);
        let band = 2 * map.width * self.outputs;
        let arch = Arch::new();
        let blocks = out.chunks_mut(bands * band).enumerate();
        let work = |scratch: &mut Scratch, (block, out): (usize, &mut [MaybeUninit<f32>])| {
            arch.dispatch(Block {
                conv: self,
                map,
                first: block * bands,
                out,
                scratch,
            });
        };
        if rayon::current_num_threads() == 1 {
            let mut scratch = Scratch::default();
            blocks.for_each(|block| work(&mut scratch, block));
        } else {
            out.par_chunks_mut(bands * band)
                .enumerate()
                .for_each_init(Scratch::default, work);
        }
    }
}

/// A channels-last map, `[rows, height, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// Row-major.
    pub values: &'a [f32],
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Map<'_> {
    /// The 4x4 pixels around the 2x2 at `(row of the batch, y, x)`; `zeros` outside the map.
    #[inline(always)]
    fn window<'a>(
        &'a self,
        corner: (usize, usize, usize),
        zeros: &'a [f32],
    ) -> [[&'a [f32]; 4]; 4] {
        let (row, y, x) = corner;
        let mut window = [[zeros; 4]; 4];
        for (dy, line) in window.iter_mut().enumerate() {
            for (dx, pixel) in line.iter_mut().enumerate() {
                // One less than the corner; what is before the first wraps and lies outside.
                let (y, x) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                if y < self.height && x < self.width {
                    let at = ((row * self.height + y) * self.width + x) * self.channels;
                    *pixel = &self.values[at..at + self.channels];
                }
            }
        }
        window
    }
}

/// What a thread keeps between blocks: transformed tiles `[16, tiles, in]` and their products `[16, tiles, out]`.
#[derive(Default)]
struct Scratch {
    tiles: Vec<f32>,
    products: Vec<f32>,
    zeros: Vec<f32>,
}

/// Some rows of tiles.
struct Block<'a> {
    conv: &'a Winograd,
    map: &'a Map<'a>,
    /// The first row of tiles, counted through all slices.
    first: usize,
    out: &'a mut [MaybeUninit<f32>],
    scratch: &'a mut Scratch,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            conv,
            map,
            first,
            out,
            scratch,
        } = self;
        let (inputs, outputs) = (conv.inputs, conv.outputs);
        let across = map.width / 2;
        let down = map.height / 2;
        let line = map.width * outputs;
        let all = out.len() / (2 * line) * across;
        scratch.zeros.resize(inputs, 0.0);
        let step = block_tiles(inputs + outputs);
        for start in (0..all).step_by(step) {
            let tiles = step.min(all - start);
            let tile_stride = tiles * inputs + GAP;
            let product_stride = tiles * outputs + GAP;
            grow(&mut scratch.tiles, POINTS * tile_stride);
            grow(&mut scratch.products, POINTS * product_stride);
            for tile in 0..tiles {
                let (band, column) = ((start + tile) / across + first, (start + tile) % across);
                let corner = (band / down, 2 * (band % down), 2 * column);
                let pixels = map.window(corner, &scratch.zeros);
                transform_tile(simd, &pixels, &mut scratch.tiles, tile, tile_stride);
            }
            for point in 0..POINTS {
                let a = &scratch.tiles[point * tile_stride..][..tiles * inputs];
                let b = &conv.weights[point * inputs * outputs..][..inputs * outputs];
                let c = &mut scratch.products[point * product_stride..][..tiles * outputs];
                multiply(simd, a, b, c, inputs, outputs);
            }
            for tile in 0..tiles {
                let (band, column) = ((start + tile) / across, (start + tile) % across);
                let (upper, lower) = out[2 * band * line..2 * (band + 1) * line].split_at_mut(line);
                let span = 2 * column * outputs..2 * (column + 1) * outputs;
                let (a, b) = upper[span.clone()].split_at_mut(outputs);
                let (c, d) = lower[span].split_at_mut(outputs);
                let out = [a, b, c, d];
                transform_back(
                    simd,
                    &scratch.products,
                    tile,
                    product_stride,
                    &conv.bias,
                    out,
                );
            }
        }
    }
}

/// Tiles of a block of so many input and output channels together.
const fn block_tiles(channels: usize) -> usize {
    match BLOCK_VALUES / channels {
        0..32 if channels >= 1024 => 64,
        0..32 => 32,
        tiles if tiles > 128 => 128,
        tiles => tiles,
    }
}

fn grow(buffer: &mut Vec<f32>, values: usize) {
    if buffer.len() < values {
        buffer.resize(values, 0.0);
    }
}

/// `B' d B` of one tile, all channels.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // rows and columns of matrices
fn transform_tile<S: Simd>(
    simd: S,
    pixels: &[[&[f32]; 4]; 4],
    out: &mut [f32],
    tile: usize,
    point_stride: usize,
) {
    let channels = pixels[0][0].len();
    for first in (0..channels).step_by(S::F32_LANES) {
        let mut d = [[simd.splat_f32s(0.0); 4]; 4];
        for y in 0..4 {
            for x in 0..4 {
                d[y][x] = load::<S>(pixels[y][x], first);
            }
        }
        for x in 0..4 {
            let [a, b, c, e] = differences(simd, [d[0][x], d[1][x], d[2][x], d[3][x]]);
            (d[0][x], d[1][x], d[2][x], d[3][x]) = (a, b, c, e);
        }
        for y in 0..4 {
            let row = differences(simd, d[y]);
            for x in 0..4 {
                let at = (4 * y + x) * point_stride + tile * channels + first;
                store::<S>(out, at, row[x]);
            }
        }
    }
}

/// `B'` times four values.
// Written out, as all that is hot here: a closure would be compiled without the vector instructions.
#[inline(always)]
fn differences<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [
        simd.sub_f32s(a, c),
        simd.add_f32s(b, c),
        simd.sub_f32s(c, b),
        simd.sub_f32s(b, d),
    ]
}

/// `A'` times four values.
#[inline(always)]
fn sums<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [
        simd.add_f32s(simd.add_f32s(a, b), c),
        simd.sub_f32s(simd.sub_f32s(b, c), d),
    ]
}

#[inline(always)]
fn load<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&values[at..at + S::F32_LANES]).0[0]
}

#[inline(always)]
fn store<S: Simd>(values: &mut [f32], at: usize, value: S::f32s) {
    S::as_mut_simd_f32s(&mut values[at..at + S::F32_LANES]).0[0] = value;
}

/// `A' m A` and the bias of one tile, all channels, into its four pixels.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // rows and columns of matrices
fn transform_back<S: Simd>(
    simd: S,
    products: &[f32],
    tile: usize,
    point_stride: usize,
    bias: &[f32],
    out: [&mut [MaybeUninit<f32>]; 4],
) {
    let channels = bias.len();
    let [out_a, out_b, out_c, out_d] = out;
    for first in (0..channels).step_by(S::F32_LANES) {
        let zero = simd.splat_f32s(0.0);
        let (mut upper, mut lower) = ([zero; 4], [zero; 4]);
        for x in 0..4 {
            let mut column = [zero; 4];
            for y in 0..4 {
                let at = (4 * y + x) * point_stride + tile * channels + first;
                column[y] = load::<S>(products, at);
            }
            [upper[x], lower[x]] = sums(simd, column);
        }
        let bias = load::<S>(bias, first);
        let [a, b] = sums(simd, upper);
        let [c, d] = sums(simd, lower);
        write::<S>(out_a, first, simd.add_f32s(a, bias));
        write::<S>(out_b, first, simd.add_f32s(b, bias));
        write::<S>(out_c, first, simd.add_f32s(c, bias));
        write::<S>(out_d, first, simd.add_f32s(d, bias));
    }
}

#[inline(always)]
fn write<S: Simd>(values: &mut [MaybeUninit<f32>], at: usize, value: S::f32s) {
    S::as_uninit_mut_simd_f32s(&mut values[at..at + S::F32_LANES]).0[0].write(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_that_are_no_multiples_of_a_panel_do_not_fit() {
        let fits = |inputs: usize, outputs: usize, missing: usize| {
            let weights = vec![0.0; POINTS * inputs * outputs - missing];
            Winograd::new(inputs, outputs, weights, vec![0.0; outputs]).is_some()
        };
        assert!(fits(32, 64, 0));
        assert!(!fits(32, 4, 0) && !fits(4, 32, 0) && !fits(32, 32, 1));
    }
}
