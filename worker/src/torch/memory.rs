//! The memory of tensors: how the process keeps it, and the values of CPU tensors as Rust slices.

use std::mem::MaybeUninit;

use half::bf16;
use tch::{Device, Kind, Tensor};

mod sealed {
    /// # Safety
    /// Every pattern of bits is a value, and the layout is that of libtorch's kind.
    #[allow(unreachable_pub)]
    pub unsafe trait Plain: Copy + Send + Sync + 'static {}
    // SAFETY: floats and integers have no invalid patterns; libtorch stores them as C does.
    unsafe impl Plain for f32 {}
    // SAFETY: as above.
    unsafe impl Plain for f64 {}
    // SAFETY: `repr(transparent)` over one u16, as c10::BFloat16 is.
    unsafe impl Plain for super::bf16 {}
}

/// Number formats whose values Rust code computes with.
pub trait Element: sealed::Plain {
    /// libtorch's name for it.
    const KIND: Kind;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for f64 {
    const KIND: Kind = Kind::Double;
}

impl Element for bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// The values of `tensor` in memory order; `None` unless it is contiguous, on the CPU and of kind `T`.
///
/// Tensors share memory, and this cannot see who else has it: nothing may write to it while the slice lives.
/// The engine reads only what it has just been given or computed, on the one thread that owns the device.
pub fn values<T: Element>(tensor: &Tensor) -> Option<&[T]> {
    let fits = tensor.kind() == T::KIND && tensor.device() == Device::Cpu && tensor.is_contiguous();
    if !fits {
        return None;
    }
    if tensor.numel() == 0 {
        return Some(&[]);
    }
    // SAFETY: a contiguous CPU tensor of this kind has `numel` values from `data_ptr`, aligned for them, and lives as
    // long as `tensor` is borrowed; writers are ruled out as said above.
    Some(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), tensor.numel()) })
}

/// A new contiguous CPU tensor of `size`, whose values `fill` must write, all of them.
pub fn filled<T: Element>(size: &[i64], fill: impl FnOnce(&mut [MaybeUninit<T>])) -> Tensor {
    let tensor = Tensor::empty(size, (T::KIND, Device::Cpu));
    if tensor.numel() > 0 {
        // SAFETY: the tensor was just made, so nothing else has its memory: `numel` values, aligned for them.
        fill(unsafe {
            std::slice::from_raw_parts_mut(
                tensor.data_ptr().cast::<MaybeUninit<T>>(),
                tensor.numel(),
            )
        });
    }
    tensor
}

/// Lets the process keep the memory of freed tensors. Otherwise the C library hands blocks over 32 MB back to
/// the system at once, and every operation on a large map waits for the system to clear its result's pages: at
/// 128 x 128 that costs more than a GroupNorm itself. Memory then stays at its peak. Only glibc does so.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            /// Sets a parameter of the allocator; 1 on success.
            safe fn mallopt(parameter: i32, value: i32) -> i32;
        }
        /// `malloc.h`: blocks may come from `mmap`, at most this many.
        const M_MMAP_MAX: i32 = -4;
        /// `malloc.h`: free bytes at the heap's end above which it shrinks; -1 for never.
        const M_TRIM_THRESHOLD: i32 = -1;
        let kept = mallopt(M_MMAP_MAX, 0) == 1 && mallopt(M_TRIM_THRESHOLD, -1) == 1;
        if !kept {
            tracing::warn!("the C library does not keep freed memory: large maps take longer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_tensor() {
        let tensor = Tensor::from_slice(&[1.5_f32, -2.0, 3.0, 4.0]).view([2, 2]);
        assert_eq!(values::<f32>(&tensor), Some(&[1.5, -2.0, 3.0, 4.0][..]));
        assert_eq!(values::<f64>(&tensor), None, "another kind");
        assert_eq!(values::<f32>(&tensor.tr()), None, "not in memory order");
        let half = Tensor::from_slice(&[1.5_f32]).to_kind(Kind::BFloat16);
        assert_eq!(values::<bf16>(&half), Some(&[bf16::from_f32(1.5)][..]));
        assert_eq!(
            values::<f32>(&Tensor::empty([0], (Kind::Float, Device::Cpu))),
            Some(&[][..])
        );
    }

    #[test]
    fn a_filled_tensor_holds_what_was_written() {
        let tensor = filled::<f64>(&[2, 3], |values| {
            for (index, value) in values.iter_mut().enumerate() {
                value.write(index as f64);
            }
        });
        assert_eq!(tensor.size(), [2, 3]);
        assert_eq!(
            Vec::<f64>::try_from(tensor.flatten(0, 1)).unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
    }
}
