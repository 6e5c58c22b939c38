//! The operations of a connected group, whatever connects it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tch::Tensor;

use super::{CollectiveError, MAX_WORLD, Membership, Rendezvous, Timeouts};
use crate::shim::ShimError;
use crate::shim::group::{Buckets, GroupBackend, ProcessGroup, Work};
use crate::shim::store::Store;

/// How often a waiting rank looks whether the group was aborted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where rank 0 tells how often it was waited for, and whether it was the last time in vain.
const TURN_OF_FIRST: &str = "turn-of-first";
/// The first bucket is small, so that sending starts early; as PyTorch has both sizes.
const FIRST_BUCKET_BYTES: i64 = 1 << 20;
const BUCKET_BYTES: i64 = 25 << 20;

/// A group of ranks that have found each other. Every rank must call the same operations in the same order with tensors
/// of the same shapes and kinds.
#[derive(Debug)]
pub struct Group {
    connected: ProcessGroup,
    state: Arc<State>,
    /// Where the ranks found each other.
    rendezvous: Arc<dyn Rendezvous>,
    /// Barriers know no timeout but that of every operation.
    detached: bool,
    /// How often rank 0 was waited for.
    told: AtomicU64,
}

/// What a group and its gradient sums know in common.
#[derive(Debug)]
struct State {
    membership: Membership,
    timeout: Duration,
    aborted: AtomicBool,
}

impl State {
    fn failed(&self, operation: &'static str, error: ShimError) -> CollectiveError {
        let Membership { rank, world } = self.membership;
        if self.aborted.load(Ordering::Acquire) {
            return CollectiveError::Aborted {
                rank,
                world,
                operation,
            };
        }
        CollectiveError::Failed {
            rank,
            world,
            operation,
            reason: error.0,
        }
    }

    fn unless_aborted(&self, operation: &'static str) -> Result<(), CollectiveError> {
        let Membership { rank, world } = self.membership;
        if self.aborted.load(Ordering::Acquire) {
            return Err(CollectiveError::Aborted {
                rank,
                world,
                operation,
            });
        }
        Ok(())
    }
}

impl Group {
    /// Finds the others through `rendezvous` and connects to them by `backend`.
    pub(super) fn connect(
        membership: Membership,
        rendezvous: Arc<dyn Rendezvous>,
        timeouts: Timeouts,
        backend: impl FnOnce(&Store, i32, i32) -> Result<GroupBackend, CollectiveError>,
    ) -> Result<Self, CollectiveError> {
        let Membership { rank, world } = membership;
        let (Ok(small_rank), Ok(small_world), true) = (
            i32::try_from(rank),
            i32::try_from(world),
            rank < world && world <= MAX_WORLD,
        ) else {
            return Err(CollectiveError::Membership { rank, world });
        };
        let failed = |error: ShimError| CollectiveError::Connect {
            rank,
            world,
            reason: error.0,
        };
        let store =
            super::rendezvous::store(Arc::clone(&rendezvous), timeouts.connect).map_err(failed)?;
        let backend = backend(&store, small_rank, small_world)?;
        backend.connect_within(timeouts.connect).map_err(failed)?;
        let connected =
            ProcessGroup::new(&store, &backend, small_rank, small_world).map_err(failed)?;
        Ok(Self {
            connected,
            state: Arc::new(State {
                membership,
                timeout: timeouts.operation,
                aborted: AtomicBool::new(false),
            }),
            rendezvous,
            detached: backend.is_detached(),
            told: AtomicU64::new(0),
        })
    }

    /// Waits for an operation, at most `timeout`. A group in which one has failed is closed, so that
    /// the other ranks need not wait for it.
    fn finish(
        &self,
        operation: &'static str,
        started: Result<Work, ShimError>,
        timeout: Duration,
    ) -> Result<(), CollectiveError> {
        let done = started
            .map_err(|error| self.state.failed(operation, error))
            .and_then(|work| self.wait(operation, &work, timeout));
        if done.is_err() {
            self.close();
        }
        done
    }

    fn wait(
        &self,
        operation: &'static str,
        work: &Work,
        timeout: Duration,
    ) -> Result<(), CollectiveError> {
        let Membership { rank, world } = self.state.membership;
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match work.wait(left.min(LOOK_EVERY)) {
                // A group that is aborted ends what is under way, done or not.
                Ok(true) => return self.state.unless_aborted(operation),
                Err(error) => return Err(self.state.failed(operation, error)),
                Ok(false) => self.state.unless_aborted(operation)?,
            }
            if start.elapsed() >= timeout {
                return Err(CollectiveError::TimedOut {
                    rank,
                    world,
                    operation,
                    after: timeout,
                });
            }
        }
    }

    /// This rank among the others.
    pub fn membership(&self) -> Membership {
        self.state.membership
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.state.membership.rank
    }

    pub fn world(&self) -> usize {
        self.state.membership.world
    }

    /// Replaces `tensor` by its sum over the ranks.
    ///
    /// # Errors
    /// When a rank is gone or late, or the group was aborted.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<(), CollectiveError> {
        let work = self.connected.all_reduce(tensor);
        self.finish("all-reduce", work, self.state.timeout)
    }

    /// Replaces `tensor` by that of rank `root`.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<(), CollectiveError> {
        let work = match i32::try_from(root) {
            Ok(root) => self.connected.broadcast(tensor, root),
            Err(_) => Err(ShimError(format!("no rank {root}"))),
        };
        self.finish("broadcast", work, self.state.timeout)
    }

    /// Waits until all ranks are here, at most `timeout`: for what may take one rank longer than an
    /// operation may.
    pub fn barrier(&self, timeout: Duration) -> Result<(), CollectiveError> {
        let work = self.connected.barrier(timeout);
        self.finish("barrier", work, timeout)
    }

    /// What rank 0 does alone while the others wait for it, at most `timeout`: for what may take longer than an operation
    /// may. Returns what `work` says, at rank 0.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce); what `work` says, at rank 0.
    pub fn after_first<E: From<CollectiveError>>(
        &self,
        operation: &'static str,
        timeout: Duration,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let turn = self.told.fetch_add(1, Ordering::Relaxed) + 1;
        let first = self.rank() == 0;
        let done = if first { work() } else { Ok(()) };
        if !self.detached {
            done?;
            return Ok(self.barrier(timeout)?);
        }
        let heard = if first {
            self.tell(operation, turn, done.is_ok(), timeout)
        } else {
            self.hear(operation, turn, timeout)
        };
        if heard.is_err() {
            self.close();
        }
        done?;
        Ok(heard?)
    }

    /// Tells the other ranks through the rendezvous that rank 0 is done, or that it has failed.
    fn tell(
        &self,
        operation: &'static str,
        turn: u64,
        done: bool,
        timeout: Duration,
    ) -> Result<(), CollectiveError> {
        let mut note = turn.to_le_bytes().to_vec();
        note.push(u8::from(done));
        self.until_told(operation, timeout, || {
            self.rendezvous.set(TURN_OF_FIRST, &note).map(Some)
        })
    }

    /// Waits until rank 0 is done. It may be ahead by some turns.
    fn hear(
        &self,
        operation: &'static str,
        turn: u64,
        timeout: Duration,
    ) -> Result<(), CollectiveError> {
        let done = self.until_told(operation, timeout, || {
            let note = self.rendezvous.get(TURN_OF_FIRST, Duration::ZERO)?;
            let told = note.as_deref().and_then(|note| {
                let (told, done) = note.split_first_chunk()?;
                Some((u64::from_le_bytes(*told), done != [0]))
            });
            Ok(told.filter(|(told, _)| *told >= turn).map(|(_, done)| done))
        })?;
        if done {
            return Ok(());
        }
        Err(self
            .state
            .failed(operation, ShimError("rank 0 has failed".to_owned())))
    }

    /// Asks until there is an answer. The rendezvous may be out of reach for a while: ranks go on without it.
    fn until_told<T>(
        &self,
        operation: &'static str,
        timeout: Duration,
        mut ask: impl FnMut() -> Result<Option<T>, String>,
    ) -> Result<T, CollectiveError> {
        let Membership { rank, world } = self.state.membership;
        let start = Instant::now();
        loop {
            self.state.unless_aborted(operation)?;
            match ask() {
                Ok(Some(told)) => return Ok(told),
                Ok(None) => {}
                Err(error) => tracing::debug!(error, "the rendezvous is out of reach"),
            }
            if start.elapsed() >= timeout {
                return Err(CollectiveError::TimedOut {
                    rank,
                    world,
                    operation,
                    after: timeout,
                });
            }
            std::thread::sleep(LOOK_EVERY.min(timeout));
        }
    }

    /// Prepares `parameters` for backward passes whose gradients are summed over the ranks.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce), or when the ranks' parameters differ.
    pub fn gradient_sum(&self, parameters: &[&Tensor]) -> Result<GradientSum, CollectiveError> {
        let buckets = Buckets::new(
            &self.connected,
            parameters,
            FIRST_BUCKET_BYTES,
            BUCKET_BYTES,
        )
        .map_err(|error| self.state.failed("gradient buckets", error))?;
        Ok(GradientSum {
            buckets,
            connected: self.connected.clone(),
            state: Arc::clone(&self.state),
        })
    }

    /// How long an operation waits for the other ranks.
    pub fn timeout(&self) -> Duration {
        self.state.timeout
    }

    /// Ends what is under way with an error, here and at the other ranks. From any thread.
    pub fn abort(&self) {
        self.state.aborted.store(true, Ordering::Release);
        self.close();
    }

    fn close(&self) {
        if let Err(error) = self.connected.abort() {
            tracing::warn!(%error, "a group of ranks cannot be closed");
        }
    }
}

/// Backward passes whose gradients are summed over the ranks, in buckets, while they are computed.
#[derive(Debug)]
pub struct GradientSum {
    buckets: Buckets,
    connected: ProcessGroup,
    state: Arc<State>,
}

impl GradientSum {
    fn finish<T>(
        &self,
        operation: &'static str,
        done: Result<T, ShimError>,
    ) -> Result<T, CollectiveError> {
        let done = done.map_err(|error| self.state.failed(operation, error));
        if done.is_err() {
            // As in `Group::finish`.
            if let Err(error) = self.connected.abort() {
                tracing::warn!(%error, "a group of ranks cannot be closed");
            }
        }
        // As in `Group::wait`.
        let value = done?;
        self.state.unless_aborted(operation)?;
        Ok(value)
    }

    /// Backward from `loss`, a scalar: afterwards the gradients of the parameters are their sums
    /// over the ranks. What plain backward passes have left in them before counts. Returns how long
    /// this thread waited for the sums; on a GPU it is the device that waits.
    pub fn backward(&mut self, loss: &Tensor) -> Result<Duration, CollectiveError> {
        let done = self.buckets.backward(loss);
        self.finish("gradient sum", done)
    }

    /// Sends gradients from now on in the order in which the last backward pass had them. Once,
    /// after the first backward pass; the order of sums over more than two ranks changes with it.
    pub fn settle_order(&mut self) -> Result<(), CollectiveError> {
        let done = self.buckets.reorder();
        self.finish("order of gradients", done)
    }
}
