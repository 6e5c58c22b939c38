//! Precision of libtorch's arithmetic: autocast, TF32; and what it says of memory.

use std::ffi::{c_char, c_int};

use tch::Device;

use super::{ShimError, check, device_number};

unsafe extern "C" {
    fn anofpdm_autocast_enter(device: c_int, half: bool) -> *mut c_char;
    fn anofpdm_autocast_leave(device: c_int) -> *mut c_char;
    fn anofpdm_allow_tf32(allow: bool) -> *mut c_char;
    fn anofpdm_free_kept_memory(device: c_int) -> *mut c_char;
    fn anofpdm_forget_peak_memory(device: c_int) -> *mut c_char;
    fn anofpdm_peak_memory(device: c_int, bytes: *mut u64) -> *mut c_char;
}

/// A precision below float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowPrecision {
    Bf16,
    Fp16,
}

/// Runs `body` with matrix products and convolutions of `device` in a lower precision on this
/// thread; what needs it stays in float32.
pub fn autocast<T>(
    device: Device,
    precision: LowPrecision,
    body: impl FnOnce() -> T,
) -> Result<T, ShimError> {
    let _guard = Autocast::enter(device, precision)?;
    Ok(body())
}

struct Autocast {
    device: c_int,
}

impl Autocast {
    fn enter(device: Device, precision: LowPrecision) -> Result<Self, ShimError> {
        let device = device_number(device);
        // SAFETY: numbers only; the state is this thread's.
        unsafe {
            check(anofpdm_autocast_enter(
                device,
                precision == LowPrecision::Fp16,
            ))
        }?;
        Ok(Self { device })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: numbers only; entered on this thread, as the guard never leaves `autocast`.
        if let Err(error) = unsafe { check(anofpdm_autocast_leave(self.device)) } {
            tracing::error!(%error, "autocast cannot be left");
        }
    }
}

/// Whether float32 products on a GPU may use TF32 (10 bits of mantissa). Process-wide.
pub fn allow_tf32(allow: bool) -> Result<(), ShimError> {
    // SAFETY: a flag of libtorch's.
    unsafe { check(anofpdm_allow_tf32(allow)) }
}

/// Counts [`peak_memory`] from now on.
///
/// # Errors
/// On the CPU, whose memory is not counted.
pub fn forget_peak_memory(device: Device) -> Result<(), ShimError> {
    // SAFETY: a number only.
    unsafe { check(anofpdm_forget_peak_memory(device_number(device))) }
}

/// The most memory that tensors have had on a GPU at once, bytes.
///
/// # Errors
/// On the CPU, whose memory is not counted.
pub fn peak_memory(device: Device) -> Result<u64, ShimError> {
    let mut bytes = 0;
    // SAFETY: `bytes` is live.
    unsafe { check(anofpdm_peak_memory(device_number(device), &raw mut bytes)) }?;
    Ok(bytes)
}

/// Gives back to the GPU what libtorch keeps of the memory of freed tensors, so that it can be cut anew; nothing on the
/// CPU.
///
/// # Errors
/// When libtorch refuses.
pub fn free_kept_memory(device: Device) -> Result<(), ShimError> {
    // SAFETY: a number only.
    unsafe { check(anofpdm_free_kept_memory(device_number(device))) }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn autocast_lowers_products_inside_only() {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        let inside = autocast(Device::Cpu, LowPrecision::Bf16, || x.matmul(&x).kind()).unwrap();
        assert_eq!(inside, Kind::BFloat16);
        assert_eq!(x.matmul(&x).kind(), Kind::Float);
    }
}
