//! Dropout whose masks come from a generator of its own: torch's global one is not touched.

use tch::{Device, Tensor};

use crate::shim::ShimError;
use crate::shim::random::Generator;

#[derive(Debug)]
pub struct Dropout {
    probability: f64,
    generator: Generator,
}

impl Dropout {
    /// Drops with `probability` on `device`; to be seeded.
    pub fn new(probability: f64, device: Device) -> Result<Self, ShimError> {
        Ok(Self {
            probability,
            generator: Generator::new(device)?,
        })
    }

    /// Another one that draws from now on the masks that this one would draw.
    pub(super) fn fork(&self) -> Result<Self, ShimError> {
        Ok(Self {
            probability: self.probability,
            generator: self.generator.fork()?,
        })
    }

    /// Starts the sequence of masks of `seed`.
    pub fn seed(&mut self, seed: u64) -> Result<(), ShimError> {
        self.generator.seed(seed)
    }

    /// `x` with values dropped and the others raised, so that the mean stays.
    ///
    /// # Panics
    /// As every operation of a network does where libtorch fails, out of memory for instance.
    pub(super) fn apply(&self, x: Tensor) -> Tensor {
        if self.probability == 0.0 {
            return x;
        }
        match self.generator.dropout_mask(&x, self.probability) {
            Ok(mask) => x * mask,
            Err(error) => panic!("dropout mask: {error}"),
        }
    }
}
