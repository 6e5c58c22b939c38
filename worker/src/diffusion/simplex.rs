//! Fractal simplex noise, the noise of AnoDDPM: fields of OpenSimplex in space.
//!
//! Which lattice vertices reach a pixel, and with what weight, depends on size and depth of a field
//! alone ([`Stencil`]); the seed only says which gradient stands at each vertex. So one stencil serves
//! all fields of a step, and a field is its weights times a table of gradients: look-ups and one sum,
//! made where the network is. Where no two samples share a depth, as in training, [`fill`] does without.
//!
//! Weights are rounded to multiples of 2^-49. Products with the small whole numbers of a gradient and
//! all partial sums are then exact in f64, so a field has the same bits on every device and in every
//! batch. It differs from plain f64 arithmetic by less than 8e-13, in practice by 1e-13.

mod direct;
mod lattice;
mod permutation;

use anofpdm_common::random::Stream;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

pub use direct::fill;
use lattice::{GRADIENTS2, GRADIENTS3, reach2, reach3};
pub use permutation::Permutation;

/// Octaves added up to one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fractal {
    pub octaves: u32,
    /// Amplitude of an octave relative to the one before.
    pub persistence: f64,
    /// Pixels a unit of the first octave; halved with each.
    pub frequency: f64,
}

impl Fractal {
    /// That of AnoDDPM. The sum is not normalised: its standard deviation is not 1.
    pub const ANODDPM: Self = Self {
        octaves: 6,
        persistence: 0.8,
        frequency: 64.0,
    };
}

/// Everything about a set of noise values but the seed.
#[derive(Debug)]
pub struct Stencil {
    dimensions: i64,
    /// Distinct vertices, their coordinates modulo 256: more does not enter the gradient.
    vertices: Vec<[u8; 3]>,
    /// Value by value, the vertices that reach it, by their number.
    reached: Vec<i64>,
    /// The weight of each of these, axis by axis.
    weights: Vec<f64>,
    /// Where the vertices of each value begin.
    begins: Vec<i64>,
}

/// Neighbours of f64 numbers from 8 to 16 are 2^-49 apart; weights are far smaller.
const ROUNDING: f64 = 12.0;

/// The nearest multiple of 2^-49.
fn rounded(weight: f64) -> f64 {
    (weight + ROUNDING) - ROUNDING
}

/// Points that are looked at in one go.
const CHUNK: usize = 256;

impl Stencil {
    /// Of noise in the plane at single points.
    pub fn plane(points: &[[f64; 2]]) -> Self {
        Self::new(2, points.len(), |point, reach| {
            reach2(points[point], 1.0, &mut |[x, y], weight| {
                reach.push([x, y, 0], weight);
            });
        })
    }

    /// Of noise in space at single points.
    pub fn space(points: &[[f64; 3]]) -> Self {
        Self::new(3, points.len(), |point, reach| {
            reach3(points[point], 1.0, &mut |vertex, weight| {
                reach.push(vertex, weight);
            });
        })
    }

    /// Of a field of `height` x `width` pixels at third coordinate `depth`, row by row: in each octave
    /// pixel (x, y) lies at (x, y, depth) / frequency.
    #[allow(clippy::cast_precision_loss)] // coordinates of pixels and steps
    pub fn field(fractal: Fractal, height: usize, width: usize, depth: i64) -> Self {
        Self::new(3, height * width, |pixel, reach| {
            let point = [(pixel % width) as f64, (pixel / width) as f64, depth as f64];
            let (mut amplitude, mut frequency) = (1.0, fractal.frequency);
            for _ in 0..fractal.octaves {
                let scaled = point.map(|part| part / frequency);
                reach3(scaled, amplitude, &mut |vertex, weight| {
                    reach.push(vertex, weight);
                });
                amplitude *= fractal.persistence;
                frequency /= 2.0;
            }
        })
    }

    /// Of `count` values; `look` is asked for the vertices that reach one of them.
    fn new(dimensions: i64, count: usize, look: impl Fn(usize, &mut Reach) + Sync) -> Self {
        let chunks: Vec<Reach> = (0..count.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let mut reach = Reach::default();
                for value in chunk * CHUNK..count.min((chunk + 1) * CHUNK) {
                    reach.begins.push(reach.vertices.len());
                    look(value, &mut reach);
                }
                reach
            })
            .collect();
        let numbers = VertexNumbers::of(&chunks);
        let mut begins = Vec::with_capacity(count);
        let mut before = 0;
        for chunk in &chunks {
            begins.extend(chunk.begins.iter().map(|begin| signed(before + begin)));
            before += chunk.vertices.len();
        }
        Self {
            dimensions,
            vertices: numbers.vertices(),
            reached: chunks
                .par_iter()
                .flat_map_iter(|chunk| chunk.vertices.iter().map(|vertex| numbers.number(*vertex)))
                .collect(),
            weights: chunks
                .iter()
                .map(|chunk| chunk.weights.as_slice())
                .collect::<Vec<_>>()
                .concat(),
            begins,
        }
    }

    /// The values under each permutation, f64 `[permutations, values]` on `device`.
    pub fn values(&self, permutations: &[Permutation], device: Device) -> Tensor {
        let gradients = self.gradients(permutations, device);
        let on_device = |tensor: Tensor| tensor.to_device(device);
        let axes = Tensor::arange(self.dimensions, (Kind::Int64, device));
        let reached = on_device(Tensor::from_slice(&self.reached)) * self.dimensions;
        let rows = (reached.unsqueeze(1) + axes).view([-1]);
        let begins = on_device(Tensor::from_slice(&self.begins)) * self.dimensions;
        let (sums, _, _, _) = Tensor::internal_embedding_bag_forward_only(
            &gradients,
            &rows,
            &begins,
            false,
            SUM,
            false,
            Some(on_device(Tensor::from_slice(&self.weights))),
            false,
            NO_PADDING,
        );
        sums.transpose(0, 1).contiguous()
    }

    /// Components of the gradient at every vertex: f64 `[vertices * dimensions, permutations]`.
    fn gradients(&self, permutations: &[Permutation], device: Device) -> Tensor {
        let bytes: Vec<u8> = permutations
            .iter()
            .flat_map(|permutation| permutation.order())
            .copied()
            .collect();
        let tables = Tensor::from_slice(&bytes)
            .view([length(permutations), -1])
            .to_device(device)
            .to_kind(Kind::Int64);
        let bytes: Vec<u8> = self.vertices.concat();
        let vertices = Tensor::from_slice(&bytes)
            .view([-1, 3])
            .to_device(device)
            .to_kind(Kind::Int64);
        let mut hash = tables.index_select(1, &vertices.select(1, 0));
        for axis in 1..self.dimensions {
            let shifted = hash + vertices.select(1, axis);
            hash = tables.gather(1, &shifted.bitwise_and(255), false);
        }
        let (choice, table) = if self.dimensions == 2 {
            // Bits 1 to 3.
            (
                hash.bitwise_and(0x0E).floor_divide_scalar(2),
                table(&GRADIENTS2),
            )
        } else {
            (hash.remainder(length(&GRADIENTS3)), table(&GRADIENTS3))
        };
        let choice = choice.transpose(0, 1).contiguous().view([-1]);
        table
            .to_device(device)
            .index_select(0, &choice)
            .view([-1, length(permutations), self.dimensions])
            .transpose(1, 2)
            .reshape([-1, length(permutations)])
    }
}

/// `mode` of an embedding bag: weighted sums.
const SUM: i64 = 0;
/// No row of an embedding bag is skipped.
const NO_PADDING: i64 = -1;

fn table<const D: usize>(gradients: &[[i8; D]]) -> Tensor {
    Tensor::from_slice(gradients.as_flattened())
        .view([-1, signed(D)])
        .to_kind(Kind::Double)
}

/// The vertices that reach some values, in order.
#[derive(Debug, Default)]
struct Reach {
    /// Each as its place among all 2^24 that differ modulo 256.
    vertices: Vec<usize>,
    weights: Vec<f64>,
    /// First vertex of every value.
    begins: Vec<usize>,
}

impl Reach {
    fn push<const D: usize>(&mut self, vertex: [i64; 3], weight: [f64; D]) {
        let [x, y, z] = wrapped(vertex).map(usize::from);
        self.vertices.push(x << 16 | y << 8 | z);
        self.weights.extend(weight.map(rounded));
    }
}

/// Numbers of the distinct vertices: their ranks in a bitmap of all.
struct VertexNumbers {
    present: Vec<u64>,
    /// Vertices in all words before.
    before: Vec<u32>,
}

impl VertexNumbers {
    fn of(chunks: &[Reach]) -> Self {
        let mut present = vec![0_u64; 1 << 18];
        for vertex in chunks.iter().flat_map(|chunk| &chunk.vertices) {
            present[vertex >> 6] |= 1 << (vertex & 63);
        }
        let mut sum = 0;
        let before = present.iter().map(|word| {
            let before = sum;
            sum += word.count_ones();
            before
        });
        Self {
            before: before.collect(),
            present,
        }
    }

    fn number(&self, vertex: usize) -> i64 {
        let (word, bit) = (vertex >> 6, vertex & 63);
        let below = self.present[word] & ((1 << bit) - 1);
        i64::from(self.before[word] + below.count_ones())
    }

    #[allow(clippy::cast_possible_truncation)] // the parts of a place
    fn vertices(&self) -> Vec<[u8; 3]> {
        let mut vertices = Vec::new();
        for (index, &word) in self.present.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                let place = index << 6 | rest.trailing_zeros() as usize;
                vertices.push([(place >> 16) as u8, (place >> 8) as u8, place as u8]);
                rest &= rest - 1;
            }
        }
        vertices
    }
}

/// Coordinates modulo 256.
fn wrapped(vertex: [i64; 3]) -> [u8; 3] {
    vertex.map(|part| part.to_le_bytes()[0])
}

fn length<T>(list: &[T]) -> i64 {
    signed(list.len())
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// One sample of a batch of noise: where its seeds come from, and at what depth its fields lie.
#[derive(Debug, Clone)]
pub struct Sample {
    /// One seed a channel is taken from it: a new one for every sample and channel.
    pub seeds: Stream,
    /// Third coordinate: the network's time.
    pub depth: i64,
}

/// Noise of AnoDDPM for a batch of samples at one depth, f32 `[N, channels, height, width]` on
/// `device`. `seeds` are as in [`Sample`], one stream a sample; no sample depends on the others.
pub fn noise(
    seeds: Vec<Stream>,
    depth: i64,
    [channels, height, width]: [usize; 3],
    device: Device,
) -> Tensor {
    let permutations: Vec<Permutation> = seeds
        .into_iter()
        .flat_map(|mut seeds| {
            let drawn: Vec<_> = (0..channels)
                .map(|_| Permutation::draw(&mut seeds))
                .collect();
            drawn
        })
        .collect();
    Stencil::field(Fractal::ANODDPM, height, width, depth)
        .values(&permutations, device)
        .to_kind(Kind::Float)
        .view([-1, signed(channels), signed(height), signed(width)])
}

#[cfg(test)]
mod tests {
    use anofpdm_common::random::Domain;

    use super::*;

    #[test]
    fn a_sample_does_not_depend_on_its_batch() {
        let shape = [3, 11, 9];
        let seeds = [4, 1, 9].map(|slice| Stream::new(3, Domain::ScoringNoise, slice, 0));
        let together = noise(seeds.to_vec(), 7, shape, Device::Cpu);
        assert_eq!(together.size(), [3, 3, 11, 9]);
        for (position, one) in (0..).zip(seeds) {
            let alone = noise(vec![one], 7, shape, Device::Cpu);
            assert_eq!(alone.get(0), together.get(position));
        }
        assert_ne!(together.get(0), together.get(2));
        assert_ne!(together.get(0).get(0), together.get(0).get(1));
    }

    #[test]
    fn sums_are_exact_in_any_order() {
        let stencil = Stencil::field(Fractal::ANODDPM, 5, 6, 3);
        let permutation = Permutation::new(12);
        let got = stencil.values(std::slice::from_ref(&permutation), Device::Cpu);
        let gradients = stencil.gradients(std::slice::from_ref(&permutation), Device::Cpu);
        for value in 0..30_usize {
            let end = stencil.begins.get(value + 1).copied();
            let reached = stencil.begins[value]..end.unwrap_or(length(&stencil.reached));
            let backwards: f64 = reached
                .flat_map(|one| [3 * one, 3 * one + 1, 3 * one + 2])
                .rev()
                .map(|entry| {
                    let vertex = stencil.reached[entry.unsigned_abs() as usize / 3];
                    let weight = stencil.weights[entry.unsigned_abs() as usize];
                    weight * gradients.double_value(&[3 * vertex + entry % 3, 0])
                })
                .sum();
            assert_eq!(got.double_value(&[0, signed(value)]), backwards);
        }
    }

    #[test]
    fn vertices_are_numbered_in_order_and_once() {
        let mut reach = Reach::default();
        for vertex in [[0, 0, 1], [-1, 255, -1], [256, 0, 1], [1, 0, 0]] {
            reach.push(vertex, [0.0; 3]);
        }
        let numbers = VertexNumbers::of(std::slice::from_ref(&reach));
        assert_eq!(numbers.vertices(), [[0, 0, 1], [1, 0, 0], [255, 255, 255]]);
        let number = |vertex: usize| numbers.number(reach.vertices[vertex]);
        assert_eq!([0, 1, 2, 3].map(number), [0, 2, 0, 1]);
    }
}
