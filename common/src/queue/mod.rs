//! Jobs from the coordinator to the workers, at least once, through leases.
//!
//! | module | concept |
//! |---|---|
//! | [`address`] | where a queue is |
//! | [`lease`] | the state machine: who holds which shard, errors, crashes, retries |
//! | [`lane`] | priorities without starvation |
//! | [`backoff`] | the wait before a retry |
//! | [`board`] | notes that the ranks of a training gang find each other by |
//! | [`broker`] | the state machine with workers, verdicts and events around it |
//! | [`local`] | driver: the coordinator itself, over a Unix socket |
//! | `redis` | driver: a Redis server, for any number of machines and runs |
//!
//! A worker sees [`WorkQueue`] and a coordinator sees [`Dispatch`]; neither knows which driver runs. Both
//! are blocking: workers have plain threads, and the coordinator drives its run from one.
//!
//! Who owns what:
//!
//! - the *queue* owns leases, deadlines, error and crash counters, backoff, and the list of workers;
//! - the *worker* owns its progress: it renews only when its device has moved on, from a thread of its own,
//!   and it may not renew on behalf of a stuck device;
//! - the *coordinator* owns the truth. It is asked through [`Judge`] before a worker is let in and before
//!   a result counts, and writes its journal before it answers. First, duplicate or conflict is decided
//!   there for each record key; the queue knows shards only.
//!
//! A result the coordinator rejects (its records fail verification) is an error of class
//! [`ErrorClass::Transient`] with the coordinator's reason: most likely that worker or its disk is at fault
//! and another attempt is right; three times wrong is dead. It is not `BadInput`, which says that the *job*
//! is wrong.

pub mod address;
pub mod backoff;
pub mod board;
pub mod broker;
pub mod lane;
pub mod lease;
pub mod local;
#[cfg(feature = "redis")]
pub mod redis;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::wire::WireError;
use crate::work::{Completion, Job, Task, WorkerInfo, is_worker_name_character};
pub use address::{QueueAddress, RedisAddress};
pub use lane::Lane;
pub use lease::{
    Counts, DeadLetter, ErrorClass, LeaseConfig, LeaseId, LiveLease, Progress, Renewal, Setback,
};

/// The longest a lease may live without renewal.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A job and the right to do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the lease in every later call.
    pub id: LeaseId,
    /// A lease not renewed for this long is lost; renew at a third of it.
    pub ttl: Duration,
    /// What to do.
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
    ///
    /// # Errors
    /// What is wrong.
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
    /// Work.
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
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn take(&self, wait: Duration) -> Result<Take, QueueError>;

    /// Extends a lease. Calling it is the promise that the device has moved on since the last call;
    /// `progress` says how far it is with this lease.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError>;

    /// Delivers a result, welcome even when the lease is lost. Returns when the claim is delivered; what
    /// the coordinator makes of it is its own affair.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError>;

    /// Reports that the job failed, with the full error chain. Without effect when the lease is lost.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError>;

    /// Gives a job back unfinished, without blame: a drain, or a cancellation obeyed.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn hand_back(&self, lease: &LeaseId) -> Result<(), QueueError>;

    /// Puts up a note for the other ranks of the gang that `lease` is a rank of; `key` and `note` are as
    /// [`board::check_note`] says.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach, the lease is of no rank, or the board is full.
    fn post(&self, lease: &Lease, key: &str, note: &[u8]) -> Result<(), QueueError>;

    /// Reads a note of the same gang, if it is up.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach or the lease is of no rank.
    fn read(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError>;

    /// Ends this worker in good order: what it still holds goes back without blame. The last call.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach: its leases then run out by themselves.
    fn leave(&self) -> Result<(), QueueError>;
}

/// A result as it reaches the coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The lease it was made under, lost or not.
    pub lease: LeaseId,
    /// What was asked for.
    pub job: &'a Job,
    /// Who made it.
    pub worker: &'a str,
    /// What the worker claims.
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
    /// A worker was let in.
    WorkerJoined(WorkerInfo),
    /// A worker is gone; what it held follows as [`Event::Crashed`].
    WorkerLeft(WorkerInfo),
    /// A worker has begun a shard.
    Leased {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        worker: String,
    },
    /// A worker reported an error, or its result was rejected.
    Failed {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        worker: String,
        /// The class of the error.
        class: ErrorClass,
        /// The full error chain.
        message: String,
        /// What became of the shard.
        setback: Setback,
    },
    /// A worker died, or was silent for too long.
    Crashed {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        worker: String,
        /// What became of the shard.
        setback: Setback,
    },
    /// A worker gave a shard back.
    HandedBack {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        worker: String,
        /// What became of the shard.
        setback: Setback,
    },
}

/// The coordinator's decisions, asked for by the queue from inside [`Dispatch::serve`].
pub trait Judge {
    /// Lets a worker in, or says why not.
    ///
    /// # Errors
    /// The reason, for the worker's log.
    fn admit(&mut self, worker: &WorkerInfo) -> Result<(), String>;

    /// Verifies a result, journals it, and says whether the shard is done. Also asked for results of
    /// shards that are done already: a duplicate must be counted, and a conflict noticed.
    fn judge(&mut self, claim: Claim<'_>) -> Verdict;

    /// Takes note.
    fn notice(&mut self, event: Event);
}

/// A worker as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// What it said of itself.
    pub info: WorkerInfo,
    /// When it was last heard: asking for work, renewing, or telling how a shard ended. Zero when the queue does not know.
    pub heard: Duration,
    /// What it holds; times are on the queue's own clock.
    pub leases: Vec<LiveLease>,
}

/// A shard as the coordinator submits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Its number in the run.
    pub shard: u64,
    /// What to do.
    pub job: Job,
    /// How soon.
    pub lane: Lane,
    /// Workers that are not given it as long as there is any other: those whose result it checks, or who
    /// failed it.
    pub avoid: Vec<String>,
}

impl Submission {
    /// A shard for any worker, in the normal lane.
    pub const fn new(shard: u64, job: Job) -> Self {
        Self {
            shard,
            job,
            lane: Lane::Normal,
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
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError>;

    /// The shards an earlier coordinator of this run left in the queue, unfinished or dead. They are
    /// known: to be cancelled where they are no longer wanted.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError>;

    /// Ends a worker that is not trusted any more: what it holds goes back, and its next take is answered
    /// [`Take::Retired`].
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError>;

    /// Takes a shard out, through renewal where a worker has it; false when it is done, dead or unknown.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError>;

    /// Lets the lease of a shard run out at once, because its worker is taken for gone: a crash, unless it is renewed
    /// before the queue looks. False when nobody has it.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn expire(&mut self, shard: u64) -> Result<bool, QueueError>;

    /// Offers a dead shard again; false when it is not dead.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn revive(&mut self, shard: u64) -> Result<bool, QueueError>;

    /// Stops or starts giving out shards.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError>;

    /// Says that nothing more will be submitted: takes are answered [`Take::Finished`] once nothing is
    /// outstanding.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn finish(&mut self) -> Result<(), QueueError>;

    /// From now on takes are answered [`Take::Drain`]; leases go on.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn drain(&mut self) -> Result<(), QueueError>;

    /// Forgets the run: it is over, and nothing of it is left in the queue.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn close(&mut self) -> Result<(), QueueError>;

    /// Answers workers for about `wait`, returning earlier when something was answered.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn serve(&mut self, judge: &mut dyn Judge, wait: Duration) -> Result<(), QueueError>;

    /// Shards by state.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn counts(&self) -> Result<Counts, QueueError>;

    /// Shards given up, with their errors.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError>;

    /// Workers let in and not gone.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError>;

    /// Now on the queue's own clock, to which the times of a [`LiveLease`] belong; none while the queue is
    /// away.
    ///
    /// # Errors
    /// [`QueueError`] when the queue is out of reach.
    fn now(&self) -> Result<Option<Duration>, QueueError>;
}

/// The queue cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The coordinator does not want this worker.
    #[error("the coordinator refused this worker: {0}")]
    Refused(String),
    /// The text names no queue.
    #[error("'{shown}' is not the address of a queue: {reason}")]
    Address {
        /// The text, without secret.
        shown: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// Settings that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The server does not let this user in, or not do this.
    #[error("{0}")]
    Denied(String),
    /// The server is away, or is not what is needed.
    #[error("{0}")]
    Redis(String),
    /// The socket cannot be made or reached.
    #[error("queue at {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The other side closed the connection, or did not answer in time.
    #[error("the coordinator is gone: {0}")]
    Gone(String),
    /// The other side sent something that is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A message that makes no sense here.
    #[error("queue protocol: {0}")]
    Protocol(String),
}

impl QueueError {
    /// True while the server is away for a moment: what was to be said can be said again later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

/// Connects a worker to the queue at `address`: `unix:PATH`, `redis://…` or `rediss://…`. In Redis it serves
/// the run named, until that is over, or else every run there is.
///
/// # Errors
/// [`QueueError::Address`], [`QueueError::Settings`], [`QueueError::Unreachable`].
pub fn connect(
    address: &str,
    #[cfg_attr(not(feature = "redis"), allow(unused_variables))] run: Option<&str>,
) -> Result<Box<dyn WorkQueue>, QueueError> {
    match QueueAddress::of_worker(address)? {
        QueueAddress::Socket(path) => Ok(Box::new(local::LocalQueue::connect(&path)?)),
        #[cfg(feature = "redis")]
        QueueAddress::Redis(server) => Ok(Box::new(redis::RedisQueue::new(&server.text, run)?)),
        other => Err(QueueError::Settings(format!(
            "this program was built without a driver for {other:?}"
        ))),
    }
}

/// A worker name no other start of any worker has: host, process, and a digest of boot, process namespace
/// and time. A name used twice would let a dead worker's leases pass for a live one's.
pub fn unique_worker_id() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let start = format!(
        "{} {:?} {now:?} {:?}",
        read("/proc/sys/kernel/random/boot_id"),
        std::fs::read_link("/proc/self/ns/pid").ok(),
        std::thread::current().id(),
    );
    let unique = Digest::of(start.as_bytes()).short();
    // A host may be called anything; a worker may not.
    let plain = |c| if is_worker_name_character(c) { c } else { '-' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    format!("{host}-{}-{unique}", std::process::id())
}
