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
/// not decide the bits of what it does next.
///
/// # Errors
/// When libtorch refuses.
pub fn keep_cudnn_deterministic() -> Result<(), ShimError> {
    let switches = Switches::read()?;
    Switches {
        deterministic_cudnn: true,
        ..switches
    }
    .write()
}

/// Training on a GPU: deterministic algorithms, and TF32 as asked for, until it is dropped. Then every switch is as it
/// was found.
#[derive(Debug)]
pub struct TrainingSwitches {
    found: Switches,
}

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
        let guard = Self { found };
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

impl Drop for TrainingSwitches {
    fn drop(&mut self) {
        if let Err(error) = self.found.write() {
            tracing::error!(%error, "the switches of training cannot be set back");
        }
    }
}
