//! The noise of a training sample: a function of (seed, step, position) alone, whatever the family.

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::role::NoiseFamily;

use crate::diffusion::noise::fill_gaussians;
use crate::diffusion::simplex::{self, Sample};

/// What the noise of a sample is a function of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseKey {
    /// Seed of the training.
    pub seed: u64,
    /// Step, from 0.
    pub step: u64,
    /// Position in the global batch.
    pub position: usize,
    /// Diffusion time: the depth of a simplex field.
    pub time: i64,
}

/// Writes the noise of one sample into `noise`, `[C, H, W]` in row-major order: standard normal
/// values, or fractal simplex fields with a seed for each channel.
pub fn fill(family: NoiseFamily, key: NoiseKey, shape: [usize; 3], noise: &mut [f32]) {
    let position = key.position as u64;
    let stream = Stream::new(key.seed, Domain::TrainingNoise, key.step, position);
    match family {
        NoiseFamily::Gaussian => fill_gaussians(stream, noise),
        NoiseFamily::Simplex => {
            let sample = Sample {
                seeds: stream,
                depth: key.time,
            };
            simplex::fill(sample, shape, noise);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 5, 7];

    fn noise(family: NoiseFamily, seed: u64, step: u64, position: usize, time: i64) -> Vec<f32> {
        let mut values = vec![f32::NAN; 70];
        let key = NoiseKey {
            seed,
            step,
            position,
            time,
        };
        fill(family, key, SHAPE, &mut values);
        values
    }

    #[test]
    fn noise_is_fixed_by_its_key_and_differs_between_places() {
        for family in [NoiseFamily::Gaussian, NoiseFamily::Simplex] {
            let here = noise(family, 1, 2, 3, 4);
            assert_eq!(here, noise(family, 1, 2, 3, 4));
            for (seed, step, position) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
                assert_ne!(here, noise(family, seed, step, position, 4), "{family:?}");
            }
            assert!(here.iter().all(|value| value.is_finite()));
            assert_ne!(here[..35], here[35..], "{family:?}: channels");
        }
    }

    #[test]
    fn only_a_simplex_field_knows_its_time() {
        for family in [NoiseFamily::Gaussian, NoiseFamily::Simplex] {
            let same = noise(family, 1, 2, 3, 4) == noise(family, 1, 2, 3, 5);
            assert_eq!(same, family == NoiseFamily::Gaussian);
        }
    }
}
