//! The worker's side of a queue.
//!
//! Every call answers [`QueueError`] when the queue is out of reach; what else can go wrong stands at the call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::QueueError;
use super::lease::{ErrorClass, LeaseId, Progress, Renewal};
use crate::plan::{Completion, Job, Task, WorkerInfo};

/// The longest a lease may live without renewal.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A job and the right to do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the lease in every later call.
    pub id: LeaseId,
    /// A lease not renewed for this long is lost; renew at a third of it.
    pub ttl: Duration,
    pub job: Job,
}

impl Lease {
    /// The generation of the gang that this is a rank of.
    ///
    /// # Errors
    /// [`QueueError::Protocol`] for any other job.
    pub fn generation(&self) -> Result<u64, QueueError> {
        match &self.job.task {
            Task::Train(rank) => Ok(rank.generation),
            Task::Batches(_) | Task::Trial => Err(QueueError::Protocol(
                "only the ranks of a training have a board".to_owned(),
            )),
        }
    }

    /// Checks that the job is one a shard can be, and the time one it can live.
    pub fn check(&self) -> Result<(), String> {
        if self.ttl.is_zero() || self.ttl > LONGEST_TTL {
            return Err(format!("a lease of {:?}", self.ttl));
        }
        self.job.check()
    }
}

/// Answer to [`WorkQueue::take`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Take {
    Leased(Lease),
    /// Nothing now; ask again.
    Empty,
    /// Nothing ever again: the run is complete.
    Finished,
    /// The coordinator wants no more work started.
    Drain,
    /// The coordinator does not trust this worker any more, for this reason: it must end.
    Retired(String),
}

/// The worker's side of a queue. All calls block; renewing works while another thread takes or computes.
pub trait WorkQueue: Send + Sync {
    /// Introduces the worker; the first call.
    ///
    /// # Errors
    /// [`QueueError::Refused`] with the coordinator's reason, for instance another numeric profile.
    fn register(&self, worker: &WorkerInfo) -> Result<(), QueueError>;

    /// Asks for work and waits for it up to `wait`.
    fn take(&self, wait: Duration) -> Result<Take, QueueError>;

    /// Name of the run that a lease is of, for the log; `None` where this end of the queue is not told.
    fn run_of(&self, _lease: &LeaseId) -> Option<String> {
        None
    }

    /// Extends a lease. Calling it is the promise that the device has moved on since the last call;
    /// `progress` says how far it is with this lease.
    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError>;

    /// Delivers a result, welcome even when the lease is lost. Returns when the claim is delivered; what
    /// the coordinator makes of it is its own affair.
    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError>;

    /// Reports that the job failed, with the full error chain. Without effect when the lease is lost.
    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError>;

    /// Gives a lease back unfinished, without blame: a drain, or a cancellation obeyed.
    fn release(&self, lease: &LeaseId) -> Result<(), QueueError>;

    /// Sets a value for the other ranks of the gang that `lease` is a rank of; `key` and `value` are as
    /// [`check_value`](super::rendezvous_store::check_value) says.
    ///
    /// # Errors
    /// [`QueueError::Protocol`] when the lease is of no rank, or the store of the gang is full.
    fn rendezvous_set(&self, lease: &Lease, key: &str, value: &[u8]) -> Result<(), QueueError>;

    /// Reads a value of the same gang, if it is set.
    ///
    /// # Errors
    /// [`QueueError::Protocol`] when the lease is of no rank.
    fn rendezvous_get(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError>;

    /// Ends this worker in good order: what it still holds goes back without blame. The last call. Where the queue is
    /// out of reach the leases run out by themselves.
    fn leave(&self) -> Result<(), QueueError>;
}
