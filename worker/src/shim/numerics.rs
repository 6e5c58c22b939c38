//! Switches of libtorch's arithmetic: autocast, TF32, deterministic algorithms; and what it says of memory.

use std::ffi::{c_char, c_int};

use tch::Device;

use super::{ShimError, check, device_number};

unsafe extern "C" {
    fn anofpdm_autocast_enter(device: c_int, half: bool) -> *mut c_char;
    fn anofpdm_autocast_leave(device: c_int) -> *mut c_char;
    fn anofpdm_allow_tf32(allow: bool) -> *mut c_char;
    fn anofpdm_deterministic(deterministic: bool) -> *mut c_char;
    fn anofpdm_tf32(products: *mut bool, convolutions: *mut bool) -> *mut c_char;
    fn anofpdm_set_tf32(products: bool, convolutions: bool) -> *mut c_char;
    fn anofpdm_wide_reductions() -> *mut c_char;
    fn anofpdm_reductions_are_wide(wide: *mut bool) -> *mut c_char;
    fn anofpdm_determinism(cudnn: *mut bool, all: *mut bool) -> *mut c_char;
    fn anofpdm_forget_peak_memory(device: c_int) -> *mut c_char;
    fn anofpdm_peak_memory(device: c_int, bytes: *mut u64) -> *mut c_char;
}

/// A precision below float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowPrecision {
    /// bfloat16.
    Bf16,
    /// float16.
    Fp16,
}

/// Runs `body` with matrix products and convolutions of `device` in a lower precision on this
/// thread; what needs it stays in float32.
///
/// # Errors
/// When libtorch refuses.
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
///
/// # Errors
/// When libtorch refuses.
pub fn allow_tf32(allow: bool) -> Result<(), ShimError> {
    // SAFETY: a flag of libtorch's.
    unsafe { check(anofpdm_allow_tf32(allow)) }
}

/// libtorch's switches as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// TF32 in products of float32.
    pub tf32_products: bool,
    /// TF32 in convolutions of float32.
    pub tf32_convolutions: bool,
    /// Parts of float16 and bfloat16 products are added in float32.
    pub wide_reductions: bool,
    /// cuDNN takes deterministic algorithms only.
    pub deterministic_cudnn: bool,
    /// Deterministic algorithms are preferred everywhere.
    pub deterministic: bool,
}

/// Reads the switches.
///
/// # Errors
/// When libtorch refuses.
pub fn switches() -> Result<Switches, ShimError> {
    let mut on = [false; 5];
    let [products, convolutions, wide, cudnn, all] = &mut on;
    // SAFETY: all are live.
    unsafe {
        check(anofpdm_tf32(products, convolutions))?;
        check(anofpdm_reductions_are_wide(wide))?;
        check(anofpdm_determinism(cudnn, all))?;
    }
    let [
        tf32_products,
        tf32_convolutions,
        wide_reductions,
        deterministic_cudnn,
        deterministic,
    ] = on;
    Ok(Switches {
        tf32_products,
        tf32_convolutions,
        wide_reductions,
        deterministic_cudnn,
        deterministic,
    })
}

/// Lets a GPU add the parts of a split float16 or bfloat16 product in float32 only: guidance multiplies their rounding.
/// Process-wide.
///
/// # Errors
/// When libtorch refuses.
pub fn wide_reductions() -> Result<(), ShimError> {
    // SAFETY: flags of libtorch's.
    unsafe { check(anofpdm_wide_reductions()) }
}

/// Runs `body` with float32 products and convolutions in float32 also where TF32 is allowed.
///
/// # Errors
/// When libtorch refuses.
pub fn without_tf32<T>(body: impl FnOnce() -> T) -> Result<T, ShimError> {
    let (mut products, mut convolutions) = (false, false);
    // SAFETY: both are live.
    unsafe { check(anofpdm_tf32(&raw mut products, &raw mut convolutions)) }?;
    if !products && !convolutions {
        return Ok(body());
    }
    allow_tf32(false)?;
    let _back = Tf32 {
        products,
        convolutions,
    };
    Ok(body())
}

/// The switches of TF32 as they were, and are again when this goes.
struct Tf32 {
    products: bool,
    convolutions: bool,
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        // SAFETY: flags of libtorch's.
        let back = unsafe { check(anofpdm_set_tf32(self.products, self.convolutions)) };
        if let Err(error) = back {
            tracing::error!(%error, "TF32 stays off");
        }
    }
}

/// Whether deterministic algorithms are preferred; what has none warns. Process-wide.
///
/// # Errors
/// When libtorch refuses.
pub fn deterministic(deterministic: bool) -> Result<(), ShimError> {
    // SAFETY: a flag of libtorch's.
    unsafe { check(anofpdm_deterministic(deterministic)) }
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
