//! Generators of their own: drawing from one does not touch torch's global state, nor the reverse.

use std::ffi::{c_char, c_int};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::{ShimError, check, device_number};

#[repr(C)]
struct GeneratorPointer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn anofpdm_generator_create(device: c_int, out: *mut *mut GeneratorPointer) -> *mut c_char;
    fn anofpdm_generator_fork(
        generator: *mut GeneratorPointer,
        out: *mut *mut GeneratorPointer,
    ) -> *mut c_char;
    fn anofpdm_generator_seed(generator: *mut GeneratorPointer, seed: u64) -> *mut c_char;
    fn anofpdm_generator_free(generator: *mut GeneratorPointer);
    fn anofpdm_dropout_mask(
        generator: *mut GeneratorPointer,
        like: *const C_tensor,
        drop: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// A generator of random numbers on one device.
#[derive(Debug)]
pub struct Generator {
    pointer: *mut GeneratorPointer,
}

// SAFETY: a generator belongs to no thread; drawing and seeding take its own lock.
unsafe impl Send for Generator {}

impl Generator {
    /// A generator of the kind of `device`, to be seeded.
    pub fn new(device: Device) -> Result<Self, ShimError> {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: `pointer` is live.
        unsafe {
            check(anofpdm_generator_create(
                device_number(device),
                &raw mut pointer,
            ))
        }?;
        Ok(Self { pointer })
    }

    /// Another one that draws from now on what this one would draw.
    pub fn fork(&self) -> Result<Self, ShimError> {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the generator is alive, `pointer` is live.
        unsafe { check(anofpdm_generator_fork(self.pointer, &raw mut pointer)) }?;
        Ok(Self { pointer })
    }

    /// Starts the sequence of `seed`.
    pub fn seed(&mut self, seed: u64) -> Result<(), ShimError> {
        // SAFETY: the generator is alive.
        unsafe { check(anofpdm_generator_seed(self.pointer, seed)) }
    }

    /// Zero with probability `drop`, else 1 / (1 - `drop`), in the shape, kind and layout of `like`.
    ///
    /// # Errors
    /// When `like` lies on another device than the generator.
    pub fn dropout_mask(&self, like: &Tensor, drop: f64) -> Result<Tensor, ShimError> {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: generator and tensor are alive; drawing takes the generator's own lock.
        unsafe {
            check(anofpdm_dropout_mask(
                self.pointer,
                like.as_ptr(),
                drop,
                &raw mut pointer,
            ))
        }?;
        // SAFETY: a new tensor of the shim that has no other owner.
        Ok(unsafe { Tensor::from_ptr(pointer) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { anofpdm_generator_free(self.pointer) }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn ones() -> Tensor {
        Tensor::ones([100, 100], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_seed_decides_and_the_global_generator_does_not() {
        let mut generator = Generator::new(Device::Cpu).unwrap();
        generator.seed(7).unwrap();
        let first = generator.dropout_mask(&ones(), 0.25).unwrap();
        let second = generator.dropout_mask(&ones(), 0.25).unwrap();
        assert_ne!(first, second);
        tch::manual_seed(1);
        let mut other = Generator::new(Device::Cpu).unwrap();
        other.seed(7).unwrap();
        assert_eq!(other.dropout_mask(&ones(), 0.25).unwrap(), first);
        drop(Tensor::rand([5], (Kind::Float, Device::Cpu)));
        assert_eq!(other.dropout_mask(&ones(), 0.25).unwrap(), second);
        other.seed(8).unwrap();
        assert_ne!(other.dropout_mask(&ones(), 0.25).unwrap(), first);
    }

    #[test]
    fn a_fork_draws_the_same_and_disturbs_nothing() {
        let mut generator = Generator::new(Device::Cpu).unwrap();
        generator.seed(7).unwrap();
        drop(generator.dropout_mask(&ones(), 0.25).unwrap());
        let fork = generator.fork().unwrap();
        let forked = fork.dropout_mask(&ones(), 0.25).unwrap();
        assert_eq!(generator.dropout_mask(&ones(), 0.25).unwrap(), forked);
        let next = generator.dropout_mask(&ones(), 0.25).unwrap();
        assert_eq!(fork.dropout_mask(&ones(), 0.25).unwrap(), next);
    }

    #[test]
    fn a_mask_keeps_the_mean() {
        let mut generator = Generator::new(Device::Cpu).unwrap();
        generator.seed(3).unwrap();
        let mask = generator.dropout_mask(&ones(), 0.25).unwrap();
        let zeros = mask.eq(0.0).sum(Kind::Int64).int64_value(&[]);
        // Five standard deviations of a binomial with 10,000 trials.
        assert!((zeros - 2500).abs() < 5 * 44, "{zeros}");
        assert_eq!(mask.max().double_value(&[]), f64::from(1.0_f32 / 0.75));
    }
}
