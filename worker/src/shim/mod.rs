//! What libtorch offers in C++ and tch does not: c10d, own generators, fused optimiser, autocast.
//!
//! The C++ side is `worker/shim`, compiled by `build.rs`. Each of its functions catches every
//! exception and returns the text, or null; here they become safe functions that return
//! [`ShimError`]. Apart from [`torch`](crate::torch), which loads libraries, this is the only
//! `unsafe` of the project, because a function of another language cannot be checked by the compiler.
#![allow(unsafe_code)]

pub(crate) mod driver;
pub mod ending;
pub mod environment;
#[cfg(test)]
mod gpu_set_tests;
pub mod group;
pub mod group_norm;
pub mod kernel;
pub mod nccl;
pub mod numerics;
pub mod operations;
pub mod random;
pub mod recompute;
pub mod store;
#[cfg(test)]
pub(crate) mod stub_backend;
pub mod switches;
pub mod training;

use std::ffi::{CStr, c_char};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

/// What libtorch said when an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShimError(pub String);

unsafe extern "C" {
    fn anofpdm_free_text(text: *mut c_char);
}

/// The result of a function of the shim: null, or a text that is now ours.
///
/// # Safety
/// `text` must come from a function of the shim and not have been checked before.
unsafe fn check(text: *mut c_char) -> Result<(), ShimError> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a string that ends with a zero and that has no other owner.
    let message = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: it was made by the shim and is not used afterwards.
    unsafe { anofpdm_free_text(text) };
    Err(ShimError(message))
}

/// Writes what went wrong into the caller's buffer, as a text that ends with a zero.
///
/// # Safety
/// `error` must point to `capacity` bytes.
unsafe fn tell(message: &str, error: *mut c_char, capacity: usize) {
    let length = message.len().min(capacity.saturating_sub(1));
    // SAFETY: at most `capacity - 1` bytes, then the zero that ends them.
    unsafe {
        std::ptr::copy_nonoverlapping(message.as_ptr().cast(), error, length);
        if capacity > 0 {
            error.add(length).write(0);
        }
    }
}

/// Pointers to the C++ tensors of a list, valid while the list is borrowed.
fn pointers<T: std::borrow::Borrow<Tensor>>(tensors: &[T]) -> Vec<*const C_tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.borrow().as_ptr())
        .collect()
}

/// A device as the shim counts it: -1 is the CPU, others are CUDA devices.
fn device_number(device: Device) -> i32 {
    match device {
        Device::Cuda(number) => i32::try_from(number).unwrap_or(i32::MAX),
        _ => -1,
    }
}
