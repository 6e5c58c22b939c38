//! The coordinator's side of a queue.
//!
//! Every call of [`Dispatch`] answers [`QueueError`] when the queue is out of reach.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::QueueError;
use super::lease::{Counts, DeadLetter, ErrorClass, LeaseId, LiveLease, Setback};
use super::priority::Priority;
use crate::plan::{Completion, Job, WorkerInfo};

#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The lease it was made under, lost or not.
    pub lease: LeaseId,
    pub job: &'a Job,
    pub worker: &'a str,
    pub completion: &'a Completion,
}

/// What the coordinator says to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Verified and in the journal: the shard is done.
    Accept,
    /// The records are not what was asked for: an error of the shard, with this reason.
    Reject(String),
    /// The coordinator cannot tell, for instance because its journal has failed and it is about to stop:
    /// the shard goes back without blame.
    Undecided,
}

/// Something that happened to a shard or a worker, told after the fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    WorkerJoined(WorkerInfo),
    /// A worker is gone; what it held follows as [`Event::Crashed`].
    WorkerLeft(WorkerInfo),
    Leased {
        lease: LeaseId,
        worker: String,
    },
    /// A worker reported an error, or its result was rejected.
    Failed {
        lease: LeaseId,
        worker: String,
        class: ErrorClass,
        message: String,
        setback: Setback,
    },
    /// A worker died, or was silent for too long.
    Crashed {
        lease: LeaseId,
        worker: String,
        setback: Setback,
    },
    /// A worker gave a shard back, or lost it because it was retired.
    Released {
        lease: LeaseId,
        worker: String,
        setback: Setback,
    },
}

/// The coordinator's decisions, asked for by the queue from inside [`Dispatch::serve`].
pub trait QueueHandler {
    /// Lets a worker in, or says why not.
    fn admit(&mut self, worker: &WorkerInfo) -> Result<(), String>;

    /// Verifies a result, journals it, and says whether the shard is done. Also asked for results of
    /// shards that are done already: a duplicate must be counted, and a conflict noticed.
    fn commit(&mut self, claim: Claim<'_>) -> Verdict;

    fn notice(&mut self, event: Event);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    pub info: WorkerInfo,
    /// When it was last heard: asking for work, renewing, or telling how a shard ended. Zero when the queue does not know.
    pub heard: Duration,
    /// What it holds; times are on the queue's own clock.
    pub leases: Vec<LiveLease>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    pub shard: u64,
    pub job: Job,
    pub priority: Priority,
    /// Workers that are not given it as long as there is any other: those whose result it checks, or who
    /// failed it.
    pub avoid: Vec<String>,
}

impl Submission {
    /// A shard for any worker, of normal priority.
    pub const fn new(shard: u64, job: Job) -> Self {
        Self {
            shard,
            job,
            priority: Priority::Normal,
            avoid: Vec::new(),
        }
    }
}

/// The coordinator's side of a queue.
///
/// The shards of a run are submitted again after a restart (those without a journaled result): counters
/// begin afresh then. Every answer to a worker is made inside [`serve`](Self::serve), so the caller must
/// come back to it within a small part of the lease time.
pub trait Dispatch {
    /// Adds shards and says how many were new; one whose number is known already changes nothing.
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError>;

    /// The shards an earlier coordinator of this run left in the queue, unfinished or dead. They are
    /// known: to be cancelled where they are no longer wanted.
    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError>;

    /// Ends a worker that is not trusted any more: what it holds goes back, and its next take is answered
    /// [`Take::Retired`](super::Take::Retired).
    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError>;

    /// Takes a shard out, through renewal where a worker has it; false when it is done, dead or unknown.
    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError>;

    /// Lets the lease of a shard run out at once, because its worker is taken for gone: a crash, unless it is renewed
    /// before the queue looks. False when nobody has it.
    fn expire(&mut self, shard: u64) -> Result<bool, QueueError>;

    /// Offers a dead shard again; false when it is not dead.
    fn revive(&mut self, shard: u64) -> Result<bool, QueueError>;

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError>;

    /// Says that nothing more will be submitted: takes are answered [`Take::Finished`](super::Take::Finished) once nothing is
    /// outstanding.
    fn finish(&mut self) -> Result<(), QueueError>;

    /// From now on takes are answered [`Take::Drain`](super::Take::Drain); leases go on.
    fn drain(&mut self) -> Result<(), QueueError>;

    /// Forgets the run: it is over, and nothing of it is left in the queue.
    fn close(&mut self) -> Result<(), QueueError>;

    /// Answers workers for about `wait`, returning earlier when something was answered.
    fn serve(&mut self, handler: &mut dyn QueueHandler, wait: Duration) -> Result<(), QueueError>;

    fn counts(&self) -> Result<Counts, QueueError>;

    /// Shards given up, with their errors.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError>;

    /// Workers let in and not gone.
    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError>;

    /// Now on the queue's own clock, to which the times of a [`LiveLease`] belong; none while the queue is
    /// away.
    fn now(&self) -> Result<Option<Duration>, QueueError>;
}
