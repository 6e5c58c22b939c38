//! Switches of libtorch's arithmetic that are one for the whole process: which algorithms may be chosen, and TF32.

use std::ffi::c_char;

use tch::Device;

use super::{ShimError, check};

/// How the switches stand. As `Switches` in `shim/switches.cpp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Switches {
    /// Operations with a deterministic algorithm take it.
    pub deterministic_algorithms: bool,
    /// Those that have none warn instead of failing.
    pub warn_only: bool,
    /// With deterministic algorithms: new memory is filled with NaN before anything is written to it.
    pub fill_uninitialized: bool,
    /// cuDNN takes deterministic algorithms only.
    pub deterministic_cudnn: bool,
    /// float32 products on a GPU may use TF32.
    pub tf32_products: bool,
    /// float32 convolutions on a GPU may use TF32.
    pub tf32_convolutions: bool,
    /// Parts of a float16 or bfloat16 product that is split along its sum are added in float32.
    pub wide_reductions: bool,
}

unsafe extern "C" {
    fn anofpdm_switches_read(out: *mut Switches) -> *mut c_char;
    fn anofpdm_switches_write(switches: Switches) -> *mut c_char;
}

impl Switches {
    /// How they stand now.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn read() -> Result<Self, ShimError> {
        let mut switches = Self {
            deterministic_algorithms: false,
            warn_only: false,
            fill_uninitialized: false,
            deterministic_cudnn: false,
            tf32_products: false,
            tf32_convolutions: false,
            wide_reductions: false,
        };
        // SAFETY: `switches` is live and of the type that is written.
        unsafe { check(anofpdm_switches_read(&raw mut switches)) }?;
        Ok(switches)
    }

    /// Sets all of them.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn write(self) -> Result<(), ShimError> {
        // SAFETY: flags of libtorch's, passed by value.
        unsafe { check(anofpdm_switches_write(self)) }
    }
}

/// From now on cuDNN takes deterministic algorithms only, in training and scoring alike: what a worker did before must
/// not decide the bits of what it does next. And split products are added in float32: guidance multiplies their rounding.
///
/// # Errors
/// When libtorch refuses.
pub fn keep_comparable() -> Result<(), ShimError> {
    let switches = Switches::read()?;
    Switches {
        deterministic_cudnn: true,
        wide_reductions: true,
        ..switches
    }
    .write()
}

/// Training on a GPU: deterministic algorithms, and TF32 as asked for, until it is dropped. Then every switch is as it
/// was found.
#[derive(Debug)]
pub struct TrainingSwitches {
    _found: AsFound,
}

/// The switches as they were found, and are again when this goes.
#[derive(Debug)]
struct AsFound(Switches);

impl TrainingSwitches {
    /// Sets them for training on `device`; `None` for the CPU, which knows none of them.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn enter(device: Device, tf32: bool) -> Result<Option<Self>, ShimError> {
        if !device.is_cuda() {
            return Ok(None);
        }
        let found = Switches::read()?;
        let guard = Self {
            _found: AsFound(found),
        };
        Switches {
            deterministic_algorithms: true,
            // Some operations have no other algorithm; what they do is the same for one kind of device in practice.
            warn_only: true,
            // Nothing here reads memory before it is written; filling it would be one pass more over every map.
            fill_uninitialized: false,
            tf32_products: tf32,
            tf32_convolutions: tf32,
            ..found
        }
        .write()?;
        Ok(Some(guard))
    }
}

impl Drop for AsFound {
    fn drop(&mut self) {
        if let Err(error) = self.0.write() {
            tracing::error!(%error, "switches of libtorch cannot be set back");
        }
    }
}

/// Runs `body` with float32 products and convolutions in float32 also where TF32 is allowed.
///
/// # Errors
/// When libtorch refuses.
pub fn without_tf32<T>(body: impl FnOnce() -> T) -> Result<T, ShimError> {
    let found = Switches::read()?;
    if !found.tf32_products && !found.tf32_convolutions {
        return Ok(body());
    }
    let _back = AsFound(found);
    Switches {
        tf32_products: false,
        tf32_convolutions: false,
        ..found
    }
    .write()?;
    Ok(body())
}
