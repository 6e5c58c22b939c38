//! Fields pixel by pixel, without a stencil: for one sample on the CPU, whose depth no other shares.
//!
//! Weights are rounded as a stencil rounds them, so the sums are exact here too and the fields have the
//! same bits as those of [`super::noise`].

use super::lattice::{GRADIENTS3, reach3};
use super::{Fractal, Permutation, Sample, rounded, wrapped};

/// Writes the noise of one sample into `noise`, `[channels, height, width]` in row-major order.
#[allow(clippy::cast_precision_loss)] // coordinates of pixels and steps
#[allow(clippy::cast_possible_truncation)] // fields are kept as f32
pub fn fill(mut sample: Sample, [channels, height, width]: [usize; 3], noise: &mut [f32]) {
    let permutations: Vec<Permutation> = (0..channels)
        .map(|_| Permutation::draw(&mut sample.seeds))
        .collect();
    let fractal = Fractal::ANODDPM;
    let mut sums = vec![0.0; channels];
    for pixel in 0..height * width {
        sums.fill(0.0);
        let point = [
            (pixel % width) as f64,
            (pixel / width) as f64,
            sample.depth as f64,
        ];
        let (mut amplitude, mut frequency) = (1.0, fractal.frequency);
        for _ in 0..fractal.octaves {
            let scaled = point.map(|part| part / frequency);
            reach3(scaled, amplitude, &mut |vertex, weight| {
                let vertex = wrapped(vertex);
                let weight = weight.map(rounded);
                for (sum, permutation) in sums.iter_mut().zip(&permutations) {
                    let [x, y, z] = gradient(permutation, vertex);
                    *sum += weight[0] * x + weight[1] * y + weight[2] * z;
                }
            });
            amplitude *= fractal.persistence;
            frequency /= 2.0;
        }
        for (channel, sum) in sums.iter().enumerate() {
            if let Some(value) = noise.get_mut(channel * height * width + pixel) {
                *value = *sum as f32;
            }
        }
    }
}

/// The gradient that a permutation puts at a vertex.
fn gradient(permutation: &Permutation, vertex: [u8; 3]) -> [f64; 3] {
    let order = permutation.order();
    let hash = vertex.into_iter().fold(0_u8, |hash, part| {
        order[usize::from(hash.wrapping_add(part))]
    });
    GRADIENTS3[usize::from(hash) % GRADIENTS3.len()].map(f64::from)
}

#[cfg(test)]
mod tests {
    use anofpdm_common::random::{Domain, Stream};
    use tch::Device;

    use super::super::noise;
    use super::*;

    #[test]
    fn fields_have_the_bits_of_those_from_a_stencil() {
        let shape = [3, 23, 40];
        for (seed, depth) in [(0, 0), (1, 57), (2, 999)] {
            let sample = Sample {
                seeds: Stream::new(seed, Domain::TrainingNoise, 5, 6),
                depth,
            };
            let mut direct = vec![f32::NAN; 3 * 23 * 40];
            fill(sample.clone(), shape, &mut direct);
            let field = noise(vec![sample.seeds], depth, shape, Device::Cpu).view([-1]);
            assert_eq!(direct, Vec::<f32>::try_from(field).unwrap());
        }
    }
}
