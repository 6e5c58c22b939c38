//! Ranks that train together: sums and copies over all of them, on libtorch's c10d.
//!
//! A rank is a process with a device. Ranks find each other through a [`Rendezvous`], which a queue
//! can be; then they talk to each other directly: CPUs over Gloo (TCP), GPUs over NCCL. An operation
//! waits for every rank: one that is gone makes it fail at once, one that hangs after the timeout.
//! After a failure a group is of no further use.
//!
//! | module | concept |
//! |---|---|
//! | [`rendezvous`] | keys in which ranks find each other |
//! | [`group`] | the operations, for both backends |
//! | [`gloo`] | connecting CPUs |
//! | [`nccl`] | connecting GPUs |

pub mod gloo;
pub mod group;
pub mod nccl;
pub mod rendezvous;

use std::time::Duration;

use tch::Tensor;

pub use group::Group;
pub use rendezvous::{MemoryRendezvous, Rendezvous};

/// The place of a rank among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Rank, from 0.
    pub rank: usize,
    /// Number of ranks.
    pub world: usize,
}

/// How long ranks wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For all ranks to appear.
    pub connect: Duration,
    /// For one operation afterwards. A rank that is later than this counts as hung.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(120),
            operation: Duration::from_secs(60),
        }
    }
}

/// Why ranks cannot go on together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    /// No such place in a group.
    #[error(
        "rank {rank} of a world of {world}: ranks count from 0 and a world has at most {MAX_WORLD}"
    )]
    Membership {
        /// Rank asked for.
        rank: usize,
        /// World asked for.
        world: usize,
    },
    /// The ranks did not find each other.
    #[error("rank {rank} of {world} has not found the others: {reason}")]
    Connect {
        /// This rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
        /// libtorch's words.
        reason: String,
    },
    /// The library of a backend does not load.
    #[error("{library} does not load: {reason}")]
    Library {
        /// Its name.
        library: &'static str,
        /// The loader's words, and what to do.
        reason: String,
    },
    /// An operation failed: another rank is gone.
    #[error("rank {rank} of {world}: {operation} failed, another rank may be gone: {reason}")]
    Failed {
        /// This rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
        /// What was under way.
        operation: &'static str,
        /// libtorch's words.
        reason: String,
    },
    /// An operation did not end: another rank hangs.
    #[error("rank {rank} of {world}: {operation} not done after {after:?}, another rank may hang")]
    TimedOut {
        /// This rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
        /// What was under way.
        operation: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The group was aborted.
    #[error("rank {rank} of {world}: the group was aborted during {operation}")]
    Aborted {
        /// This rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
        /// What was under way.
        operation: &'static str,
    },
}

/// Ranks of a world, at most: those of a gang.
pub const MAX_WORLD: usize = anofpdm_common::work::MAX_WORLD as usize;

/// What a rank does together with the others. Every rank must call the same operations in the same
/// order with tensors of the same shapes and kinds.
pub trait Collective: std::fmt::Debug + Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn world(&self) -> usize;

    /// Replaces `tensor` by its sum over the ranks.
    ///
    /// # Errors
    /// When a rank is gone or late, or the group was aborted.
    fn all_reduce(&self, tensor: &Tensor) -> Result<(), CollectiveError>;

    /// Replaces `tensor` by that of rank `root`.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<(), CollectiveError>;

    /// Waits until all ranks are here, at most `timeout`: for what may take one rank longer than an
    /// operation may.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn barrier(&self, timeout: Duration) -> Result<(), CollectiveError>;

    /// Prepares `parameters` for backward passes whose gradients are summed over the ranks.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce), or when the ranks' parameters differ.
    fn gradient_sum(&self, parameters: &[&Tensor])
    -> Result<Box<dyn GradientSum>, CollectiveError>;

    /// How long an operation waits for the other ranks.
    fn timeout(&self) -> Duration;

    /// Ends what is under way with an error, here and at the other ranks. From any thread.
    fn abort(&self);
}

/// Backward passes whose gradients are summed over the ranks while they are computed.
pub trait GradientSum: std::fmt::Debug {
    /// Backward from `loss`, a scalar: afterwards the gradients of the parameters are their sums
    /// over the ranks. What plain backward passes have left in them before counts. Returns how long
    /// this thread waited for the sums; on a GPU it is the device that waits.
    ///
    /// # Errors
    /// When a rank is gone or late.
    fn backward(&mut self, loss: &Tensor) -> Result<Duration, CollectiveError>;

    /// Sends gradients from now on in the order in which the last backward pass had them. Once,
    /// after the first backward pass; the order of sums over more than two ranks changes with it.
    ///
    /// # Errors
    /// When a rank is gone or late.
    fn settle_order(&mut self) -> Result<(), CollectiveError>;
}
