//! The backend of `shim/stub_backend.cpp`: what NCCL does where something is wrong, for tests without a GPU.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use tch::Device;

use super::group::{BackendPointer, GroupBackend};
use super::store::{Store, StorePointer};
use super::{ShimError, check};

#[repr(C)]
struct StatePointer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn anofpdm_stub_create(
        store: *mut StorePointer,
        rank: c_int,
        world: c_int,
        operations: c_int,
        connects: bool,
        polls: bool,
        state: *mut *mut StatePointer,
        out: *mut *mut BackendPointer,
    ) -> *mut c_char;
    fn anofpdm_stub_state(state: *const StatePointer, out: *mut u64);
    fn anofpdm_stub_release(state: *mut StatePointer);
}

/// What becomes of an operation. The numbers of `Operations` in C++.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operations {
    /// Done at once.
    Done = 0,
    /// Under way until an abort, which ends it without an exception.
    UntilAborted = 1,
    /// Under way whatever happens.
    Endless = 2,
}

/// How a stub behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) operations: Operations,
    /// The other ranks are there.
    pub(crate) connects: bool,
    /// A thread of its own asks the store for a key again and again.
    pub(crate) polls: bool,
}

impl Behaviour {
    pub(crate) const fn of(operations: Operations) -> Self {
        Self {
            operations,
            connects: true,
            polls: false,
        }
    }
}

/// What a stub has seen, also once it is gone.
#[derive(Debug)]
pub(crate) struct StubState {
    pointer: *mut StatePointer,
}

// SAFETY: the state is atomic values.
unsafe impl Send for StubState {}
// SAFETY: as above.
unsafe impl Sync for StubState {}

/// What a stub has seen until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) aborted: bool,
    pub(crate) shut_down: bool,
    pub(crate) barriers: u64,
    pub(crate) polls: u64,
}

impl StubState {
    pub(crate) fn seen(&self) -> Seen {
        let mut values = [0_u64; 4];
        // SAFETY: the state is alive and four values are written.
        unsafe { anofpdm_stub_state(self.pointer, values.as_mut_ptr()) };
        Seen {
            aborted: values[0] != 0,
            shut_down: values[1] != 0,
            barriers: values[2],
            polls: values[3],
        }
    }

    /// Waits until the stub has seen what is asked for; false after a minute.
    pub(crate) fn comes(&self, what: impl Fn(&Seen) -> bool) -> bool {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if what(&self.seen()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

impl Drop for StubState {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { anofpdm_stub_release(self.pointer) }
    }
}

impl GroupBackend {
    pub(crate) fn stub(
        store: &Store,
        rank: i32,
        world: i32,
        behaviour: Behaviour,
    ) -> Result<(Self, StubState), ShimError> {
        let (mut state, mut pointer) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the store is alive, both results are live.
        unsafe {
            check(anofpdm_stub_create(
                store.pointer,
                rank,
                world,
                behaviour.operations as c_int,
                behaviour.connects,
                behaviour.polls,
                &raw mut state,
                &raw mut pointer,
            ))
        }?;
        let backend = Self {
            pointer,
            device: Device::Cpu,
            detached: true,
        };
        Ok((backend, StubState { pointer: state }))
    }
}
