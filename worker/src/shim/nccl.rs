//! The library beside the program that has NCCL: built with the cargo feature `nccl`, loaded when asked for.

use std::ffi::{c_char, c_int};
use std::sync::OnceLock;
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::Device;

use super::group::{BackendPointer, GroupBackend};
use super::store::{Store, StorePointer, millis};
use super::{ShimError, check, device_number};
use crate::torch::in_words;

pub const LIBRARY: &str = "libanofpdm_nccl.so";

type Create = unsafe extern "C" fn(
    *mut StorePointer,
    c_int,
    c_int,
    u64,
    c_int,
    *mut *mut BackendPointer,
) -> *mut c_char;

/// The one function of the library. Loaded once; it stays until the process ends.
fn create() -> Result<Create, String> {
    static LOADED: OnceLock<Result<Create, String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: the library has no initialisers but those of libtorch_cuda, which is loaded before
            // (a CUDA device was opened); the bare name is found through the program's run path or
            // LD_LIBRARY_PATH.
            let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_GLOBAL) }
                .map_err(|error| in_words(&error))?;
            // SAFETY: the function has this type in `shim/nccl.cpp`, which is built with this crate.
            let create = unsafe { library.get::<Create>(b"anofpdm_nccl_create\0") }
                .map(|symbol| *symbol)
                .map_err(|error| in_words(&error))?;
            // Its code runs until the process ends.
            std::mem::forget(library);
            Ok(create)
        })
        .clone()
}

/// Whether the library loads.
pub fn load() -> Result<(), String> {
    create().map(drop)
}

impl GroupBackend {
    /// NCCL on `device`, a GPU that was opened; still to be [connected](Self::connect_within).
    ///
    /// # Errors
    /// When the library is not there or sees no GPU.
    pub fn nccl(
        store: &Store,
        rank: i32,
        world: i32,
        timeout: Duration,
        device: Device,
    ) -> Result<Self, ShimError> {
        let create = create().map_err(ShimError)?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the store is alive and `pointer` live; the store's type is the same in both libraries,
        // as they are compiled against one set of headers.
        unsafe {
            check(create(
                store.pointer,
                rank,
                world,
                millis(timeout),
                device_number(device),
                &raw mut pointer,
            ))
        }?;
        Ok(Self {
            pointer,
            device,
            detached: true,
        })
    }
}
