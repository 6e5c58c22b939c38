//! Which operations of libtorch a piece of work consists of.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use super::{ShimError, anofpdm_free_text, check};

unsafe extern "C" {
    fn anofpdm_operations_begin() -> *mut c_char;
    fn anofpdm_operations_end(text: *mut *mut c_char) -> *mut c_char;
}

/// What only looks at memory in another way, or asks about it, and so launches nothing on a GPU.
const WITHOUT_A_LAUNCH: [&str; 22] = [
    "aten::alias",
    "aten::as_strided",
    "aten::detach",
    "aten::detach_",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::expand",
    "aten::is_nonzero",
    "aten::narrow",
    "aten::permute",
    "aten::reshape",
    "aten::resize_",
    "aten::select",
    "aten::slice",
    "aten::split",
    "aten::squeeze",
    "aten::t",
    "aten::transpose",
    "aten::unsqueeze",
    "aten::view",
    "aten::_unsafe_view",
];

/// Operations that have asked for no other one, by their names in libtorch, and how often each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operations(pub BTreeMap<String, u64>);

impl Operations {
    /// Those that compute something: on a GPU each is a launch at least.
    pub fn computing(&self) -> u64 {
        let computing = self
            .0
            .iter()
            .filter(|(name, _)| !WITHOUT_A_LAUNCH.contains(&name.as_str()));
        computing.map(|(_, times)| times).sum()
    }

    /// Those that hand a number to the host, which on a GPU waits for everything asked for before.
    pub fn waiting(&self) -> u64 {
        ["aten::_local_scalar_dense", "aten::equal", "aten::nonzero"]
            .iter()
            .filter_map(|name| self.0.get(*name))
            .sum()
    }
}

/// Runs `body` and counts what it asks libtorch for on this thread.
///
/// # Errors
/// When libtorch cannot be observed.
pub fn counted<T>(body: impl FnOnce() -> T) -> Result<(T, Operations), ShimError> {
    // SAFETY: state of this thread only.
    unsafe { check(anofpdm_operations_begin()) }?;
    let counting = Counting;
    let done = body();
    std::mem::forget(counting);
    Ok((done, end()?))
}

fn end() -> Result<Operations, ShimError> {
    let mut text = std::ptr::null_mut();
    // SAFETY: `text` is live.
    unsafe { check(anofpdm_operations_end(&raw mut text)) }?;
    // SAFETY: the shim has set it to a string that ends with a zero and has no other owner.
    let lines = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: it was made by the shim and is not used afterwards.
    unsafe { anofpdm_free_text(text) };
    let one = |line: &str| {
        let (name, times) = line.rsplit_once(' ')?;
        Some((name.to_owned(), times.parse().ok()?))
    };
    Ok(Operations(lines.lines().filter_map(one).collect()))
}

/// Ends the counting where `body` has panicked.
struct Counting;

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = end() {
            tracing::error!(%error, "operations are counted on");
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn operations_are_counted_by_what_they_come_down_to() {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        let (_, seen) = counted(|| (&x + &x).view([16]) * 2.0).unwrap();
        assert_eq!(seen.0.get("aten::add"), Some(&1), "{seen:?}");
        assert_eq!(seen.computing(), 2, "{seen:?}");
        assert_eq!(seen.waiting(), 0);
        let (_, seen) = counted(|| x.sum(Kind::Float).double_value(&[])).unwrap();
        assert_eq!(seen.waiting(), 1, "{seen:?}");
        let panicked = std::panic::catch_unwind(|| counted(|| panic!("a test")).map(drop));
        assert!(panicked.is_err());
        let (_, seen) = counted(|| ()).unwrap();
        assert_eq!(seen, Operations::default());
    }
}
