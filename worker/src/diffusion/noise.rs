//! Where the noise of Eq. 2 comes from: a counter-based generator, or a given tensor.
//!
//! A generated value depends on (seed, slice, step, position) alone, never on the batch it is drawn
//! in or on what was drawn before; so results do not depend on batches, order or workers.

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::role::NoiseFamily;
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::simplex;

/// Noise for a batch, by index.
#[derive(Debug)]
pub enum NoiseSource {
    /// Values keyed by (seed, slice identity, index).
    Counter {
        seed: u64,
        /// Identity of every slice of the batch.
        slices: Vec<u64>,
    },
    /// f32 `[n, N, C, H, W]`: entry i is the noise at index i.
    Given(Tensor),
}

impl NoiseSource {
    /// How many indices there is noise for; `None` when unlimited.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Counter { .. } => None,
            Self::Given(bank) => bank.size().first().and_then(|n| usize::try_from(*n).ok()),
        }
    }

    /// No noise at all.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Shape of the batch this is noise for, `[N, C, H, W]`, where the source has one.
    pub fn batch_shape(&self) -> Option<Vec<i64>> {
        match self {
            Self::Counter { .. } => None,
            Self::Given(bank) => Some(bank.size().get(1..).unwrap_or_default().to_vec()),
        }
    }

    /// f32 noise of a family, of shape `[N, C, H, W]` at `index`. `depth`, the time the network is
    /// told, is where simplex fields lie. Given noise is what it is, whatever the family.
    ///
    /// # Panics
    /// When `index` is past [`NoiseSource::len`]: the caller checks it once, before the first step.
    pub fn draw(
        &self,
        family: NoiseFamily,
        index: usize,
        depth: i64,
        shape: [i64; 4],
        device: Device,
    ) -> Tensor {
        match (family, self) {
            (NoiseFamily::Gaussian, _) | (_, Self::Given(_)) => self.at(index, &shape, device),
            (NoiseFamily::Simplex, Self::Counter { seed, slices }) => {
                let seeds = slices
                    .iter()
                    .map(|slice| Stream::new(*seed, Domain::ScoringNoise, *slice, index as u64));
                let [_, channels, height, width] = shape.map(|size| size.unsigned_abs() as usize);
                simplex::noise(seeds.collect(), depth, [channels, height, width], device)
            }
        }
    }

    /// Standard normal noise, f32 of shape `[N, C, H, W]`, at `index`.
    ///
    /// # Panics
    /// When `index` is past [`NoiseSource::len`]: the caller checks it once, before the first step.
    #[allow(clippy::cast_possible_wrap)] // indices are small
    pub fn at(&self, index: usize, shape: &[i64], device: Device) -> Tensor {
        match self {
            Self::Given(bank) => bank.get(index as i64).to_device(device),
            Self::Counter { seed, slices } => {
                gaussian_batch(*seed, slices, index, shape).to_device(device)
            }
        }
    }
}

/// Standard normal noise of all `slices` at one index in host memory, f32 of `shape`, `[N, ...]`.
pub(super) fn gaussian_batch(seed: u64, slices: &[u64], index: usize, shape: &[i64]) -> Tensor {
    let numbers: i64 = shape.iter().skip(1).product();
    let numbers = usize::try_from(numbers).unwrap_or(0);
    let values: Vec<Vec<f32>> = slices
        .par_iter()
        .map(|slice| gaussians(seed, *slice, index, numbers))
        .collect();
    Tensor::from_slice(&values.concat()).reshape(shape)
}

/// Standard normal values of one slice at one index.
fn gaussians(seed: u64, slice: u64, index: usize, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    let stream = Stream::new(seed, Domain::ScoringNoise, slice, index as u64);
    fill_gaussians(stream, &mut values);
    values
}

/// Fills `values` with standard normal values from the beginning of `stream`.
pub fn fill_gaussians(mut stream: Stream, values: &mut [f32]) {
    for pair in values.chunks_mut(2) {
        let (first, second) = stream.gaussian_pair();
        #[allow(clippy::cast_possible_truncation)] // float32 is what the state is held in
        for (value, drawn) in pair.iter_mut().zip([first as f32, second as f32]) {
            *value = drawn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(slices: &[u64]) -> NoiseSource {
        NoiseSource::Counter {
            seed: 7,
            slices: slices.to_vec(),
        }
    }

    #[test]
    fn noise_does_not_depend_on_the_batch() {
        let pair = counter(&[3, 9]).at(5, &[2, 1, 3, 3], Device::Cpu);
        let alone = counter(&[9]).at(5, &[1, 1, 3, 3], Device::Cpu);
        assert_eq!(pair.get(1), alone.get(0));
        assert_ne!(pair.get(0), pair.get(1));
        assert_ne!(alone, counter(&[9]).at(6, &[1, 1, 3, 3], Device::Cpu));
    }

    #[test]
    fn simplex_noise_is_keyed_in_the_same_way() {
        let draw = |slices: &[u64], index, depth| {
            let shape = [i64::try_from(slices.len()).unwrap(), 2, 8, 8];
            counter(slices).draw(NoiseFamily::Simplex, index, depth, shape, Device::Cpu)
        };
        let pair = draw(&[3, 9], 5, 40);
        assert_eq!(pair.get(1), draw(&[9], 5, 40).get(0));
        for other in [draw(&[9], 6, 40), draw(&[9], 5, 41)] {
            assert_ne!(pair.get(1), other.get(0));
        }
        // A bank is given whole, simplex or not.
        let bank = NoiseSource::Given(Tensor::ones(
            [1, 1, 1, 2, 2],
            (tch::Kind::Float, Device::Cpu),
        ));
        let got = bank.draw(NoiseFamily::Simplex, 0, 7, [1, 1, 2, 2], Device::Cpu);
        assert_eq!(
            got,
            Tensor::ones([1, 1, 2, 2], (tch::Kind::Float, Device::Cpu))
        );
    }

    #[test]
    fn a_given_bank_is_used_as_it_is() {
        let bank = Tensor::from_slice(&[1_f32, 2., 3., 4.]).view([2, 1, 1, 1, 2]);
        let source = NoiseSource::Given(bank.shallow_clone());
        assert_eq!(source.len(), Some(2));
        assert_eq!(source.batch_shape(), Some(vec![1, 1, 1, 2]));
        assert_eq!(source.at(1, &[1, 1, 1, 2], Device::Cpu), bank.get(1));
    }
}
