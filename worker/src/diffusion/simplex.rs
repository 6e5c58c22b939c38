//! Fractal simplex noise, the noise of AnoDDPM (SCIENCE 9): fields of OpenSimplex in space.
//!
//! Which lattice vertices reach a pixel, and with what weight, depends on size and depth of a field
//! alone ([`Stencil`]); the seed only says which gradient stands at each vertex. So one stencil serves
//! all fields of a step, and a field is its weights times a table of gradients: look-ups and one sum,
//! made where the network is.
//!
//! Weights are rounded to multiples of 2^-49. Products with the small whole numbers of a gradient and
//! all partial sums are then exact in f64, so a field has the same bits on every device and in every
//! batch. It differs from plain f64 arithmetic by less than 8e-13, in practice by 1e-13.

mod direct;
mod lattice;
mod permutation;

use std::collections::BTreeMap;

use anofpdm_common::random::Stream;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

pub use direct::fill;
use lattice::{GRADIENTS2, GRADIENTS3, reach2, reach3};
pub use permutation::Permutation;

/// Octaves added up to one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fractal {
    /// How many.
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
    dimensions: usize,
    /// Distinct vertices, their coordinates modulo 256: more does not enter the gradient.
    vertices: Vec<[u8; 3]>,
    /// For every value, in order: axis by axis, the row of the gradient table and the weight.
    rows: Vec<i64>,
    weights: Vec<f64>,
    /// Where the entries of each value begin.
    begins: Vec<i64>,
}

/// Distance of two weights next to each other.
const WEIGHT_UNIT: f64 = 1.0 / (1_u64 << 49) as f64;

/// The nearest multiple of [`WEIGHT_UNIT`].
fn rounded(weight: f64) -> f64 {
    (weight / WEIGHT_UNIT).round() * WEIGHT_UNIT
}

/// Entries of one value: vertex modulo 256, and weight by axis.
type Entries = Vec<([u8; 3], [f64; 3])>;

impl Stencil {
    /// Of noise in the plane at single points.
    pub fn plane(points: &[[f64; 2]]) -> Self {
        let entries = points.iter().map(|point| {
            let mut entries = Entries::new();
            reach2(*point, 1.0, &mut |[x, y], [u, v]| {
                entries.push((wrapped([x, y, 0]), [u, v, 0.0]));
            });
            entries
        });
        Self::new(2, &entries.collect::<Vec<_>>())
    }

    /// Of noise in space at single points.
    pub fn space(points: &[[f64; 3]]) -> Self {
        let entries = points.iter().map(|point| {
            let mut entries = Entries::new();
            reach3(*point, 1.0, &mut |vertex, weight| {
                entries.push((wrapped(vertex), weight));
            });
            entries
        });
        Self::new(3, &entries.collect::<Vec<_>>())
    }

    /// Of a field of `height` x `width` pixels at third coordinate `depth`, row by row: in each octave
    /// pixel (x, y) lies at (x, y, depth) / frequency.
    #[allow(clippy::cast_precision_loss)] // coordinates of pixels and steps
    pub fn field(fractal: Fractal, height: usize, width: usize, depth: i64) -> Self {
        let entries: Vec<Entries> = (0..height * width)
            .into_par_iter()
            .map(|pixel| {
                let point = [(pixel % width) as f64, (pixel / width) as f64, depth as f64];
                let mut entries = Entries::new();
                let (mut amplitude, mut frequency) = (1.0, fractal.frequency);
                for _ in 0..fractal.octaves {
                    let scaled = point.map(|part| part / frequency);
                    reach3(scaled, amplitude, &mut |vertex, weight| {
                        entries.push((wrapped(vertex), weight));
                    });
                    amplitude *= fractal.persistence;
                    frequency /= 2.0;
                }
                entries
            })
            .collect();
        Self::new(3, &entries)
    }

    fn new(dimensions: usize, values: &[Entries]) -> Self {
        let numbers = VertexNumbers::of(values);
        let count: usize = values.iter().map(Vec::len).sum();
        let mut stencil = Self {
            dimensions,
            vertices: numbers.vertices(),
            rows: Vec::with_capacity(dimensions * count),
            weights: Vec::with_capacity(dimensions * count),
            begins: Vec::with_capacity(values.len()),
        };
        for entries in values {
            stencil.begins.push(length(&stencil.rows));
            for (vertex, weight) in entries {
                let first = dimensions as i64 * numbers.number(*vertex);
                for (row, weight) in (first..).zip(&weight[..dimensions]) {
                    stencil.rows.push(row);
                    stencil.weights.push(rounded(*weight));
                }
            }
        }
        stencil
    }

    /// The values under each permutation, f64 `[permutations, values]` on `device`.
    pub fn values(&self, permutations: &[Permutation], device: Device) -> Tensor {
        let gradients = self.gradients(permutations, device);
        let on_device = |tensor: Tensor| tensor.to_device(device);
        let (sums, _, _, _) = Tensor::internal_embedding_bag_forward_only(
            &gradients,
            &on_device(Tensor::from_slice(&self.rows)),
            &on_device(Tensor::from_slice(&self.begins)),
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
            let shifted = hash + vertices.select(1, axis as i64);
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
        let dimensions = self.dimensions as i64;
        table
            .to_device(device)
            .index_select(0, &choice)
            .view([-1, length(permutations), dimensions])
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
        .view([-1, D as i64])
        .to_kind(Kind::Double)
}

/// Numbers of the distinct vertices: places in a bitmap of all 2^24, in ascending order.
struct VertexNumbers {
    present: Vec<u64>,
    /// Vertices in all words before.
    before: Vec<u32>,
}

impl VertexNumbers {
    fn of(values: &[Entries]) -> Self {
        let mut present = vec![0_u64; 1 << 18];
        for (vertex, _) in values.iter().flatten() {
            let (word, bit) = place(*vertex);
            present[word] |= 1 << bit;
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

    fn number(&self, vertex: [u8; 3]) -> i64 {
        let (word, bit) = place(vertex);
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

fn place([x, y, z]: [u8; 3]) -> (usize, u32) {
    let place = usize::from(x) << 16 | usize::from(y) << 8 | usize::from(z);
    (place >> 6, u32::from(z) & 63)
}

fn wrapped(vertex: [i64; 3]) -> [u8; 3] {
    vertex.map(|part| part.to_le_bytes()[0])
}

fn length<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

/// One sample of a batch of noise: where its seeds come from, and at what depth its fields lie.
#[derive(Debug, Clone)]
pub struct Sample {
    /// One seed a channel is taken from it (SCIENCE 9: a new one for every sample and channel).
    pub seeds: Stream,
    /// Third coordinate: the time the network is told.
    pub depth: i64,
}

/// Noise of AnoDDPM for a batch, f32 `[N, channels, height, width]` on `device`: of each sample by
/// itself, whatever else the batch holds.
pub fn noise(
    samples: Vec<Sample>,
    [channels, height, width]: [usize; 3],
    device: Device,
) -> Tensor {
    let count = samples.len();
    let mut by_depth: BTreeMap<i64, Vec<(usize, Stream)>> = BTreeMap::new();
    for (position, sample) in samples.into_iter().enumerate() {
        let same = by_depth.entry(sample.depth).or_default();
        same.push((position, sample.seeds));
    }
    let mut order = vec![0; count];
    let mut fields = Vec::with_capacity(by_depth.len());
    let mut made = 0_i64;
    for (depth, samples) in by_depth {
        let stencil = Stencil::field(Fractal::ANODDPM, height, width, depth);
        let mut permutations = Vec::with_capacity(samples.len() * channels);
        for (position, mut seeds) in samples {
            permutations.extend((0..channels).map(|_| Permutation::draw(&mut seeds)));
            order[position] = made;
            made += 1;
        }
        let values = stencil.values(&permutations, device);
        fields.push(values.to_kind(Kind::Float));
    }
    let side = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    Tensor::cat(&fields, 0)
        .view([-1, side(channels), side(height), side(width)])
        .index_select(0, &Tensor::from_slice(&order).to_device(device))
}

#[cfg(test)]
mod tests {
    use anofpdm_common::random::Domain;

    use super::*;

    fn sample(slice: u64, depth: i64) -> Sample {
        Sample {
            seeds: Stream::new(3, Domain::ScoringNoise, slice, 0),
            depth,
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_its_batch() {
        let shape = [3, 11, 9];
        let batch = vec![sample(4, 7), sample(1, 190), sample(9, 7), sample(2, 0)];
        let together = noise(batch.clone(), shape, Device::Cpu);
        assert_eq!(together.size(), [4, 3, 11, 9]);
        for (position, one) in (0..).zip(batch) {
            let alone = noise(vec![one], shape, Device::Cpu);
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
            let entries = stencil.begins[value]..end.unwrap_or(length(&stencil.rows));
            let backwards: f64 = entries
                .rev()
                .map(|entry| {
                    let row = stencil.rows[entry.unsigned_abs() as usize];
                    let weight = stencil.weights[entry.unsigned_abs() as usize];
                    weight * gradients.double_value(&[row, 0])
                })
                .sum();
            assert_eq!(got.double_value(&[0, value as i64]), backwards);
        }
    }

    #[test]
    fn vertices_are_numbered_in_order_and_once() {
        let entries: Vec<Entries> = [[0, 0, 1], [255, 255, 255], [0, 0, 1], [1, 0, 0]]
            .map(|vertex| vec![(vertex, [0.0; 3])])
            .to_vec();
        let numbers = VertexNumbers::of(&entries);
        assert_eq!(numbers.vertices(), [[0, 0, 1], [1, 0, 0], [255, 255, 255]]);
        for (number, vertex) in (0..).zip(numbers.vertices()) {
            assert_eq!(numbers.number(vertex), number);
        }
    }
}
