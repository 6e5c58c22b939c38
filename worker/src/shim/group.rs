//! A group of ranks of libtorch's c10d: operations, and gradient buckets summed during backward.

use std::ffi::{CString, c_char, c_int};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::store::{Store, StorePointer, millis};
use super::{ShimError, check, pointers};

#[derive(Debug)]
#[repr(C)]
pub(super) struct BackendPointer {
    _opaque: [u8; 0],
}

#[repr(C)]
struct GroupPointer {
    _opaque: [u8; 0],
}

#[repr(C)]
struct WorkPointer {
    _opaque: [u8; 0],
}

#[repr(C)]
struct BucketsPointer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn anofpdm_gloo_create(
        store: *mut StorePointer,
        rank: c_int,
        world: c_int,
        connect_ms: u64,
        timeout_ms: u64,
        interface: *const c_char,
        host: *const c_char,
        out: *mut *mut BackendPointer,
    ) -> *mut c_char;
    fn anofpdm_backend_connect(backend: *mut BackendPointer, device: c_int) -> *mut c_char;
    fn anofpdm_backend_share(backend: *const BackendPointer) -> *mut BackendPointer;
    fn anofpdm_backend_free(backend: *mut BackendPointer);
    fn anofpdm_group_create(
        store: *mut StorePointer,
        backend: *mut BackendPointer,
        device: c_int,
        detached: bool,
        rank: c_int,
        world: c_int,
        out: *mut *mut GroupPointer,
    ) -> *mut c_char;
    fn anofpdm_group_free(group: *mut GroupPointer);
    fn anofpdm_group_abort(group: *mut GroupPointer) -> *mut c_char;
    fn anofpdm_all_reduce(
        group: *mut GroupPointer,
        tensor: *const C_tensor,
        out: *mut *mut WorkPointer,
    ) -> *mut c_char;
    fn anofpdm_broadcast(
        group: *mut GroupPointer,
        tensor: *const C_tensor,
        root: c_int,
        out: *mut *mut WorkPointer,
    ) -> *mut c_char;
    fn anofpdm_barrier(
        group: *mut GroupPointer,
        timeout_ms: u64,
        device: c_int,
        out: *mut *mut WorkPointer,
    ) -> *mut c_char;
    fn anofpdm_work_wait(
        work: *mut WorkPointer,
        timeout_ms: u64,
        asked: bool,
        done: *mut bool,
    ) -> *mut c_char;
    fn anofpdm_work_free(work: *mut WorkPointer);
    fn anofpdm_buckets_create(
        group: *mut GroupPointer,
        parameters: *const *const C_tensor,
        count: usize,
        first_bytes: i64,
        bytes: i64,
        out: *mut *mut BucketsPointer,
    ) -> *mut c_char;
    fn anofpdm_buckets_backward(
        buckets: *mut BucketsPointer,
        loss: *const C_tensor,
        waited: *mut f64,
    ) -> *mut c_char;
    fn anofpdm_buckets_reorder(buckets: *mut BucketsPointer) -> *mut c_char;
    fn anofpdm_buckets_free(buckets: *mut BucketsPointer);
}

/// Where a rank listens for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At the address of a host name, or at an address.
    Host(String),
    /// At a network interface.
    Interface(String),
}

/// What carries the operations of a group.
#[derive(Debug)]
pub struct GroupBackend {
    pub(super) pointer: *mut BackendPointer,
    /// The GPU that the operations run on, for NCCL.
    pub(super) device: Device,
    /// Operations run beside this thread and end without it, as NCCL's do: what they have done or not is to be asked for,
    /// a barrier knows no timeout of its own, and the connection is made by the first of them.
    pub(super) detached: bool,
}

// SAFETY: backends are made for being called from several threads; the pointer is freed by its one owner.
unsafe impl Send for GroupBackend {}

impl GroupBackend {
    /// Gloo: TCP between CPUs. Returns when all ranks are connected.
    ///
    /// # Errors
    /// When a rank does not appear within `connect`, or the place to listen at is not there.
    pub fn gloo(
        store: &Store,
        rank: i32,
        world: i32,
        connect: Duration,
        timeout: Duration,
        listen: &Listen,
    ) -> Result<Self, ShimError> {
        let name = |name: &String| {
            CString::new(name.as_bytes())
                .map_err(|_| ShimError(format!("'{name}' is no name of a place to listen at")))
        };
        let (host, interface) = match listen {
            Listen::Host(host) => (Some(name(host)?), None),
            Listen::Interface(interface) => (None, Some(name(interface)?)),
        };
        let pointer_of =
            |name: &Option<CString>| name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the store is alive; the names outlive the call, one of them is null.
        unsafe {
            check(anofpdm_gloo_create(
                store.pointer,
                rank,
                world,
                millis(connect),
                millis(timeout),
                pointer_of(&interface),
                pointer_of(&host),
                &raw mut pointer,
            ))
        }?;
        Ok(Self {
            pointer,
            device: Device::Cpu,
            detached: false,
        })
    }

    /// Whether operations run beside the thread that starts them, as NCCL's do.
    pub const fn is_detached(&self) -> bool {
        self.detached
    }

    fn connect(&self) -> Result<(), ShimError> {
        let device = super::device_number(self.device);
        // SAFETY: the backend is alive.
        unsafe { check(anofpdm_backend_connect(self.pointer, device)) }
    }

    /// Connects to the other ranks where that would be left to the first operation, and waits for it up to `timeout`.
    /// What it waits for cannot be ended: a thread that is late stays until the process ends.
    ///
    /// # Errors
    /// When the others cannot be reached, or not in time.
    pub fn connect_within(&self, timeout: Duration) -> Result<(), ShimError> {
        if !self.detached {
            return Ok(());
        }
        let shared = Self {
            // SAFETY: the backend is alive.
            pointer: unsafe { anofpdm_backend_share(self.pointer) },
            ..*self
        };
        let (sender, connected) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more where it took too long.
            drop(sender.send(shared.connect()));
        });
        connected.recv_timeout(timeout).unwrap_or_else(|_| {
            Err(ShimError(format!(
                "not connected to the other ranks after {timeout:?}: one of them may be gone"
            )))
        })
    }
}

impl Drop for GroupBackend {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once; a group holds its own reference.
        unsafe { anofpdm_backend_free(self.pointer) }
    }
}

/// A group of ranks. Clones are the same group.
#[derive(Debug, Clone)]
pub struct ProcessGroup {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pointer: *mut GroupPointer,
    device: Device,
    detached: bool,
    /// Held while an operation is launched: c10d numbers them without a lock of its own.
    launch: Mutex<()>,
}

// SAFETY: operations are launched one at a time under `launch`; aborting is made for being called
// from another thread while they run.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

/// How long the end of a group may wait for the other ranks to end it too.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A group that nobody uses any more.
struct Unused(*mut GroupPointer);

// SAFETY: the last of its owners has given it up, and it is freed once.
unsafe impl Send for Unused {}

impl Unused {
    fn free(self) {
        // SAFETY: made by the shim and freed once, by the last of its owners.
        unsafe { anofpdm_group_free(self.0) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let unused = Unused(self.pointer);
        if !self.detached {
            return unused.free();
        }
        // Shutting down waits for the other ranks, and one may be gone by now.
        let (sender, freed) = channel();
        std::thread::spawn(move || {
            unused.free();
            sender.send(()).ok();
        });
        if freed.recv_timeout(END_TIMEOUT).is_err() {
            tracing::warn!("a group of ranks does not end; it is left as it is");
        }
    }
}

impl ProcessGroup {
    /// The group of a connected backend.
    pub fn new(
        store: &Store,
        backend: &GroupBackend,
        rank: i32,
        world: i32,
    ) -> Result<Self, ShimError> {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: store and backend are alive; `pointer` is live.
        unsafe {
            check(anofpdm_group_create(
                store.pointer,
                backend.pointer,
                super::device_number(backend.device),
                backend.detached,
                rank,
                world,
                &raw mut pointer,
            ))
        }?;
        Ok(Self {
            shared: Arc::new(Shared {
                pointer,
                device: backend.device,
                detached: backend.detached,
                launch: Mutex::new(()),
            }),
        })
    }

    fn launched(
        &self,
        launch: impl FnOnce(*mut GroupPointer, *mut *mut WorkPointer) -> *mut c_char,
    ) -> Result<Work, ShimError> {
        let mut pointer = std::ptr::null_mut();
        let _one_at_a_time = self.lock();
        // SAFETY: the group is alive and `pointer` live; the result is a text of the shim.
        unsafe { check(launch(self.shared.pointer, &raw mut pointer)) }?;
        Ok(Work {
            pointer,
            asked: self.shared.detached,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared
            .launch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts replacing `tensor` by its sum over the ranks.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<Work, ShimError> {
        // SAFETY: the tensor is alive; the work keeps its own reference to it.
        self.launched(|group, out| unsafe { anofpdm_all_reduce(group, tensor.as_ptr(), out) })
    }

    /// Starts replacing `tensor` by that of rank `root`.
    pub fn broadcast(&self, tensor: &Tensor, root: i32) -> Result<Work, ShimError> {
        // SAFETY: as for `all_reduce`.
        self.launched(|group, out| unsafe { anofpdm_broadcast(group, tensor.as_ptr(), root, out) })
    }

    /// Starts waiting for all ranks to come here, at most `timeout`.
    pub fn barrier(&self, timeout: Duration) -> Result<Work, ShimError> {
        let device = super::device_number(self.shared.device);
        // SAFETY: no pointer but the group's and the result's.
        self.launched(|group, out| unsafe { anofpdm_barrier(group, millis(timeout), device, out) })
    }

    /// Ends what is under way, here and at the other ranks, with an error. From any thread.
    pub fn abort(&self) -> Result<(), ShimError> {
        // SAFETY: the group is alive.
        unsafe { check(anofpdm_group_abort(self.shared.pointer)) }
    }
}

/// An operation under way.
#[derive(Debug)]
pub struct Work {
    pointer: *mut WorkPointer,
    /// Waiting with a timeout would abort the group; asking does not.
    asked: bool,
}

impl Work {
    /// Waits up to `timeout`; whether it has ended. May be called again where it has not.
    pub fn wait(&self, timeout: Duration) -> Result<bool, ShimError> {
        let mut done = false;
        // SAFETY: the work is alive and `done` live.
        unsafe {
            check(anofpdm_work_wait(
                self.pointer,
                millis(timeout),
                self.asked,
                &raw mut done,
            ))
        }?;
        Ok(done)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once; the backend keeps its own reference while it works.
        unsafe { anofpdm_work_free(self.pointer) }
    }
}

/// Gradients in buckets (`c10d::Reducer`): each bucket is summed over the ranks as soon as its last
/// gradient is there, while backward goes on.
#[derive(Debug)]
pub struct Buckets {
    pointer: *mut BucketsPointer,
    group: ProcessGroup,
}

impl Buckets {
    /// Buckets for `parameters`, the first of `first_bytes` and the others of `bytes`.
    ///
    /// # Errors
    /// When libtorch refuses, or the ranks' parameters differ.
    pub fn new(
        group: &ProcessGroup,
        parameters: &[&Tensor],
        first_bytes: i64,
        bytes: i64,
    ) -> Result<Self, ShimError> {
        let list = pointers(parameters);
        let mut pointer = std::ptr::null_mut();
        let one_at_a_time = group.lock();
        // SAFETY: group and tensors are alive, `count` is their number; the buckets keep references.
        unsafe {
            check(anofpdm_buckets_create(
                group.shared.pointer,
                list.as_ptr(),
                list.len(),
                first_bytes,
                bytes,
                &raw mut pointer,
            ))
        }?;
        drop(one_at_a_time);
        Ok(Self {
            pointer,
            group: group.clone(),
        })
    }

    /// Backward from `loss`, a scalar: afterwards every parameter's gradient is the sum over the
    /// ranks. What earlier plain backward passes left in the gradients is part of it. Returns how long
    /// this thread waited for the sums after it had sent its own last gradient.
    ///
    /// # Errors
    /// When a rank is gone or late: the gradients are then to be dropped.
    pub fn backward(&mut self, loss: &Tensor) -> Result<Duration, ShimError> {
        let _one_at_a_time = self.group.lock();
        let mut waited = 0.0;
        // SAFETY: buckets, loss and `waited` are alive; only this thread uses the buckets (`&mut`).
        unsafe {
            check(anofpdm_buckets_backward(
                self.pointer,
                loss.as_ptr(),
                &raw mut waited,
            ))
        }?;
        Ok(Duration::try_from_secs_f64(waited).unwrap_or_default())
    }

    /// Orders the buckets anew, once, by the order in which the last backward pass had its gradients.
    pub fn reorder(&mut self) -> Result<(), ShimError> {
        let _one_at_a_time = self.group.lock();
        // SAFETY: the buckets are alive; only this thread uses them (`&mut`).
        unsafe { check(anofpdm_buckets_reorder(self.pointer)) }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { anofpdm_buckets_free(self.pointer) }
    }
}
