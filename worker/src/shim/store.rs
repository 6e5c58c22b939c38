//! The store in which ranks find each other, its keys set and got by Rust.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{ShimError, check, tell};

pub type SetKey = Box<dyn Fn(&str, &[u8]) -> Result<(), String> + Send + Sync>;
/// The value of a key; waits for it up to a time.
pub type GetKey = Box<dyn Fn(&str, Duration) -> Result<Option<Vec<u8>>, String> + Send + Sync>;

/// What the store is made of. Called from threads of libtorch too.
pub struct Keys {
    pub set: SetKey,
    pub get: GetKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

#[derive(Debug)]
pub struct Store {
    pub(super) pointer: *mut StorePointer,
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct StorePointer {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Calls {
    context: *mut c_void,
    set: unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        usize,
        *const u8,
        usize,
        *mut c_char,
        usize,
    ) -> bool,
    get: unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        usize,
        u64,
        *mut u8,
        usize,
        *mut i64,
        *mut c_char,
        usize,
    ) -> bool,
    release: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn anofpdm_store_create(
        calls: Calls,
        timeout_ms: u64,
        out: *mut *mut StorePointer,
    ) -> *mut c_char;
    fn anofpdm_store_free(store: *mut StorePointer);
}

impl Store {
    /// A store over `keys`; waiting longer than `timeout` for a key is an error.
    pub fn new(keys: Keys, timeout: Duration) -> Result<Self, ShimError> {
        let calls = Calls {
            context: Box::into_raw(Box::new(keys)).cast(),
            set,
            get,
            release,
        };
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the callbacks match the context, which C++ releases exactly once; `pointer` is live.
        unsafe {
            check(anofpdm_store_create(
                calls,
                millis(timeout),
                &raw mut pointer,
            ))
        }?;
        Ok(Self { pointer })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `anofpdm_store_create`, freed once; groups hold their own reference.
        unsafe { anofpdm_store_free(self.pointer) }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    // A wait of less than a millisecond is one.
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX >> 1)
}

/// Runs a callback; neither an error nor a panic may pass into C++.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("the rendezvous has panicked".to_owned()))
}

/// # Safety
/// As C++ calls it: a key of `key_length` bytes, a value of `length` bytes, room for an error.
unsafe extern "C" fn set(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    value: *const u8,
    length: usize,
    error: *mut c_char,
    error_capacity: usize,
) -> bool {
    // SAFETY: the context is the box of `Store::new`, alive until `release`; key as above.
    let (keys, key) = unsafe { (&*context.cast::<Keys>(), text(key, key_length)) };
    // SAFETY: value as above; an empty vector of C++ may have no address.
    let value = unsafe { bytes(value, length) };
    match guarded(|| (keys.set)(key?, value)) {
        Ok(()) => true,
        Err(message) => {
            // SAFETY: room as above.
            unsafe { tell(&message, error, error_capacity) };
            false
        }
    }
}

/// # Safety
/// As C++ calls it: a key of `key_length` bytes, room for a value, its length and an error.
unsafe extern "C" fn get(
    context: *mut c_void,
    key: *const c_char,
    key_length: usize,
    wait_ms: u64,
    value: *mut u8,
    capacity: usize,
    length: *mut i64,
    error: *mut c_char,
    error_capacity: usize,
) -> bool {
    // SAFETY: the context is the box of `Store::new`, alive until `release`; key as above.
    let (keys, key) = unsafe { (&*context.cast::<Keys>(), text(key, key_length)) };
    let found = guarded(|| {
        let found = (keys.get)(key?, Duration::from_millis(wait_ms))?;
        match found {
            Some(found) if found.len() > capacity => {
                Err(format!("a value of {} bytes is too long", found.len()))
            }
            found => Ok(found),
        }
    });
    match found {
        Ok(found) => {
            // SAFETY: `length` is live and the value fits its room, as was checked.
            unsafe {
                length.write(
                    found
                        .as_ref()
                        .map_or(-1, |found| found.len().cast_signed() as i64),
                );
                if let Some(found) = &found {
                    std::ptr::copy_nonoverlapping(found.as_ptr(), value, found.len());
                }
            }
            true
        }
        Err(message) => {
            // SAFETY: room as above.
            unsafe { tell(&message, error, error_capacity) };
            false
        }
    }
}

/// # Safety
/// C++ calls it once, after the last of the other two.
unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: the box of `Store::new`, which is not used any more.
    let keys = unsafe { Box::from_raw(context.cast::<Keys>()) };
    // A destructor of Rust may panic, which must not pass into C++ either.
    drop(catch_unwind(AssertUnwindSafe(|| drop(keys))));
}

/// # Safety
/// `start` must point to `length` bytes that outlive the result, or `length` be 0.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// # Safety
/// As [`bytes`].
unsafe fn text<'a>(start: *const c_char, length: usize) -> Result<&'a str, String> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(start.cast(), length) };
    std::str::from_utf8(bytes).map_err(|_| "a rendezvous key is not UTF-8".to_owned())
}
