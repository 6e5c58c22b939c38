//! GroupNorm with scale, shift and SiLU over channels-last maps on a GPU: the kernels of `shim/group_norm.cu`.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use super::ShimError;
use super::kernel::{self, Kernel, Launch};

const SOURCE: &str = include_str!("../../shim/group_norm.cu");
/// Channels that a thread reads at once.
const VECTOR: i64 = 4;
/// Bytes that such a read may have to be aligned to.
const ALIGNMENT: usize = 16;
/// Threads of `moments` along the channels, and pixels that they read at once.
const TILE: i64 = 32;
const LANES: i64 = 8;
/// Threads of `lines` and of `apply`.
const WARP: u32 = 32;
const THREADS: u32 = 256;
/// Chunks of pixels, each the share of one block of `moments`: at most so many, and of at least so many pixels.
const CHUNKS: i64 = 32;
const CHUNK_PIXELS: i64 = 64;
/// Blocks of `apply` for one row of the result, at most.
const ROW_BLOCKS: i64 = 1024;
/// Branches of a result that one call serves.
const MAX_BRANCHES: usize = 64;

/// One normalisation. The parts are joined along their channels; one with fewer rows than the result serves it several
/// times over. Row r of the result takes `affines[r / (rows / affines.len())]`.
#[derive(Debug, Clone, Copy)]
pub struct GpuGroupNorm<'a> {
    /// One or two maps, `[N, H, W, C]` in that order in memory, on one GPU, float32, float16 or bfloat16.
    pub parts: &'a [Tensor],
    /// Rows of the result.
    pub rows: i64,
    /// Groups of channels.
    pub groups: i64,
    /// Added to the variance.
    pub eps: f64,
    /// Gain and offset of each branch, float32, a value a channel.
    pub affines: &'a [(&'a Tensor, &'a Tensor)],
    /// SiLU of the result.
    pub silu: bool,
    /// Kind of the result.
    pub out: Kind,
}

/// A map as the kernels know it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Source {
    values: *const c_void,
    sums: *mut c_void,
    rows: i32,
    channels: i32,
}

#[repr(C)]
struct Affines {
    gain: [*const c_void; MAX_BRANCHES],
    offset: [*const c_void; MAX_BRANCHES],
}

/// Sizes and grids of one normalisation.
#[derive(Debug)]
struct Plan {
    height: i64,
    width: i64,
    pixels: i64,
    channels: i64,
    /// Pixels of a chunk, and how many chunks a row has.
    chunk: i64,
    chunks: i64,
    /// One for each part.
    moments: Vec<Launch>,
    lines: Launch,
    apply: Launch,
}

/// A kind as the kernels' macros number it.
fn number(kind: Kind) -> Option<u8> {
    match kind {
        Kind::Float => Some(0),
        Kind::Half => Some(1),
        Kind::BFloat16 => Some(2),
        _ => None,
    }
}

/// What a program for these kinds is compiled with.
fn macros(input: u8, out: u8) -> [String; 3] {
    [
        format!("IN_KIND={input}"),
        format!("OUT_KIND={out}"),
        format!("MAX_BRANCHES={MAX_BRANCHES}"),
    ]
}

/// The kernels for an architecture and two kinds by their numbers.
#[cfg(test)]
pub(super) fn compiled(architecture: &str, input: u8, out: u8) -> Result<Vec<u8>, ShimError> {
    kernel::compile(SOURCE, architecture, &macros(input, out))
}

impl GpuGroupNorm<'_> {
    /// The result, `[rows, H, W, C]` in that order in memory; `None` where the kernels do not serve these sizes or
    /// kinds.
    pub fn run(&self) -> Result<Option<Tensor>, ShimError> {
        let Some(plan) = self.plan() else {
            return Ok(None);
        };
        let device = self.parts[0].device();
        let (Device::Cuda(_), Some(input), Some(out)) =
            (device, number(self.parts[0].kind()), number(self.out))
        else {
            return Ok(None);
        };
        self.launch(&plan, &kernels(device, input, out)?, device)
            .map(Some)
    }

    /// `None` where the kernels do not serve these sizes.
    fn plan(&self) -> Option<Plan> {
        let first = self.parts.first()?;
        let [_, height, width, _] = first.size()[..] else {
            return None;
        };
        let pixels = height.checked_mul(width)?;
        let chunk = u32_of(pixels)?.div_ceil(u32_of(CHUNKS)?);
        let chunk = i64::from(chunk).max(CHUNK_PIXELS);
        let chunks = (pixels + chunk - 1) / chunk;
        let mut channels = 0;
        let mut moments = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let [rows, part_height, part_width, part_channels] = part.size()[..] else {
                return None;
            };
            let fits = (part_height, part_width) == (height, width)
                && part_channels > 0
                && part_channels % VECTOR == 0
                && rows > 0
                && self.rows % rows == 0
                && part.kind() == first.kind()
                && part.device() == first.device()
                && part.is_contiguous()
                && part.data_ptr().addr().is_multiple_of(ALIGNMENT);
            if !fits {
                return None;
            }
            channels += part_channels;
            let tiles = (part_channels + TILE * VECTOR - 1) / (TILE * VECTOR);
            moments.push(Launch {
                grid: [u32_of(tiles)?, grid_of(chunks)?, grid_of(rows)?],
                block: [u32_of(TILE)?, u32_of(LANES)?, 1],
            });
        }
        let branches = i64::try_from(self.affines.len()).ok()?;
        let affine = |tensor: &Tensor| {
            tensor.kind() == Kind::Float
                && tensor.device() == first.device()
                && tensor.is_contiguous()
                && tensor.size() == [channels]
        };
        let fits = matches!(self.parts.len(), 1 | 2)
            && (1..=MAX_BRANCHES).contains(&self.affines.len())
            && self.rows % branches == 0
            && self.groups > 0
            && channels % self.groups == 0
            && self
                .affines
                .iter()
                .all(|(gain, offset)| affine(gain) && affine(offset));
        // The kernels count the vectors of a row, and a step beyond them, in 32 bits.
        let vectors = pixels.checked_mul(channels)? / VECTOR;
        if !fits || vectors == 0 || vectors > i64::from(i32::MAX / 2) {
            return None;
        }
        let threads = i64::from(THREADS);
        Some(Plan {
            height,
            width,
            pixels,
            channels,
            chunk,
            chunks,
            moments,
            lines: Launch {
                grid: [u32_of(self.groups)?, grid_of(self.rows)?, 1],
                block: [WARP, 1, 1],
            },
            apply: Launch {
                grid: [
                    u32_of(((vectors + threads - 1) / threads).min(ROW_BLOCKS))?,
                    grid_of(self.rows)?,
                    1,
                ],
                block: [THREADS, 1, 1],
            },
        })
    }

    fn launch(
        &self,
        plan: &Plan,
        kernels: &[Kernel; 3],
        device: Device,
    ) -> Result<Tensor, ShimError> {
        let [moments, lines, apply] = kernels;
        let int = |value: i64| i32::try_from(value).map_err(|error| ShimError(error.to_string()));
        let floats = |count: i64| Tensor::empty([count], (Kind::Float, device));
        let (mut pixels, mut chunk, mut chunks) =
            (int(plan.pixels)?, int(plan.chunk)?, int(plan.chunks)?);
        let mut sources = [Source {
            values: std::ptr::null(),
            sums: std::ptr::null_mut(),
            rows: 1,
            channels: 0,
        }; 2];
        // Memory that is freed here is used again only by what comes later in the same stream.
        let mut sums = Vec::with_capacity(self.parts.len());
        for ((source, part), launch) in sources.iter_mut().zip(self.parts).zip(&plan.moments) {
            let (rows, channels) = (part.size()[0], part.size()[3]);
            let sum = floats(2 * rows * plan.chunks * channels);
            *source = Source {
                values: part.data_ptr(),
                sums: sum.data_ptr(),
                rows: int(rows)?,
                channels: int(channels)?,
            };
            sums.push(sum);
            let mut arguments = [
                (&raw mut *source).cast(),
                (&raw mut pixels).cast(),
                (&raw mut chunk).cast(),
            ];
            // SAFETY: three parameters of these types; the map has `rows * pixels * channels` values, its sums are two
            // floats for each row, chunk and channel.
            unsafe { moments.launch(*launch, &mut arguments) }?;
        }
        let written = floats(2 * self.rows * plan.channels);
        let mut lines_pointer = written.data_ptr();
        let [mut first, mut second] = sources;
        let mut affines = Affines {
            gain: [std::ptr::null(); MAX_BRANCHES],
            offset: [std::ptr::null(); MAX_BRANCHES],
        };
        for (branch, (gain, offset)) in self.affines.iter().enumerate() {
            affines.gain[branch] = gain.data_ptr();
            affines.offset[branch] = offset.data_ptr();
        }
        let branches = i64::try_from(self.affines.len()).unwrap_or(1);
        let mut branch_rows = int(self.rows / branches)?;
        let mut eps = self.eps;
        let mut arguments = [
            (&raw mut first).cast(),
            (&raw mut second).cast(),
            (&raw mut pixels).cast(),
            (&raw mut chunks).cast(),
            (&raw mut eps).cast(),
            (&raw mut branch_rows).cast(),
            (&raw mut affines).cast(),
            (&raw mut lines_pointer).cast(),
        ];
        // SAFETY: eight parameters of these types; sums as above, gain and offset of every branch have a value for each
        // channel, and the lines are two floats for each row and channel.
        unsafe { lines.launch(plan.lines, &mut arguments) }?;

        let size = [self.rows, plan.height, plan.width, plan.channels];
        let out = Tensor::empty(size, (self.out, device));
        let mut out_pointer = out.data_ptr();
        let mut silu = i32::from(self.silu);
        let mut arguments = [
            (&raw mut first).cast(),
            (&raw mut second).cast(),
            (&raw mut pixels).cast(),
            (&raw mut silu).cast(),
            (&raw mut lines_pointer).cast(),
            (&raw mut out_pointer).cast(),
        ];
        // SAFETY: six parameters of these types; maps and lines as above, the result was just made of this size.
        unsafe { apply.launch(plan.apply, &mut arguments) }?;
        Ok(out)
    }
}

fn u32_of(value: i64) -> Option<u32> {
    u32::try_from(value).ok()
}

/// A size that the y and z sides of a grid may have.
fn grid_of(value: i64) -> Option<u32> {
    u32_of(value).filter(|value| *value <= 65_535)
}

/// The kernels for these kinds, compiled at the first call.
fn kernels(device: Device, input: u8, out: u8) -> Result<[Kernel; 3], ShimError> {
    type Compiled = HashMap<(i32, u8, u8), Result<[Kernel; 3], ShimError>>;
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled
        .get_or_insert_default()
        .entry((super::device_number(device), input, out))
        .or_insert_with(|| {
            let architecture = kernel::architecture(device)?;
            let image = kernel::compile(SOURCE, &architecture, &macros(input, out))?;
            kernel::load(&image, [c"moments", c"lines", c"apply"], device)
        })
        .clone()
}

#[cfg(test)]
mod tests;
