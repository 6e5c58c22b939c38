//! The lease state machine: pure, without clock, thread or socket.
//!
//! ```text
//! queued -> leased(owner, epoch, deadline) -> done | retry_at | dead | cancelled
//!    ^            |                              |
//!    +------------+------------------------------+
//!      release, crash                  retry due
//! ```
//!
//! Time is a parameter: the time since some start, never going back. Every driver of the queue follows
//! this table. Its promises, each tested:
//!
//! - a submitted shard is in exactly one state, and is offered until it is done, dead or cancelled;
//! - at most one lease of a shard is live; an epoch is never given twice;
//! - shards of one priority are given out in the order in which they were submitted; one that comes back stands behind
//!   the others: what has failed or been given up once does not hold up what nobody has tried yet, and a worker that
//!   releases a shard is not given the same one at once;
//! - done is final;
//! - errors and crashes are counted apart, and neither passes its limit.
//!
//! A lease is held until it is reaped, even past its deadline: a late renewal by the owner is welcome as
//! long as nobody else was given the shard. A result is welcome from anybody at any time: same key, same
//! bits. Only renewing and failing need the lease.

mod table;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
pub use table::{LeaseTable, MAX_AVOIDED, TICKS_PER_LEASE};

/// Longest error message kept, bytes.
pub const ERROR_TEXT_LIMIT: usize = 16 << 10;

/// `message`, cut to [`ERROR_TEXT_LIMIT`] at a character's border.
pub fn shorten(message: &str) -> &str {
    message
        .get(..message.floor_char_boundary(ERROR_TEXT_LIMIT))
        .unwrap_or_default()
}

/// Names one grant of one shard; a later grant of the same shard has another epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    pub shard: u64,
    pub epoch: u64,
}

/// What went wrong with a shard, as far as it decides what happens next.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(const_into_str)]
pub enum ErrorClass {
    /// May pass by itself: tried again.
    Transient,
    /// The input is wrong and stays wrong: dead at once.
    BadInput,
    /// A batch does not fit in memory, all of which was free for it: dead at once, until somebody asks for smaller ones.
    OutOfMemory,
    /// The device is gone and its worker retires: tried again elsewhere.
    DeviceLost,
    /// Trying again cannot help: dead at once.
    Fatal,
}

impl ErrorClass {
    /// Its name, as written in Redis and in JSON.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// True when another attempt is pointless.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::BadInput | Self::OutOfMemory | Self::Fatal)
    }
}

/// The numbers of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// A lease not renewed for this long is lost. A lease whose ticks are slow gets four of them.
    pub ttl: Duration,
    /// At this many errors a shard is dead.
    pub max_errors: u32,
    /// At this many crashes a shard is dead.
    pub max_crashes: u32,
    /// Wait after an error. After a crash there is none: another worker takes over at once.
    pub backoff: Backoff,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            max_errors: 3,
            max_crashes: 3,
            backoff: Backoff::default(),
        }
    }
}

#[derive(Debug)]
pub struct Grant<'a, P> {
    pub lease: LeaseId,
    pub payload: &'a P,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    Held {
        /// The shard is no longer wanted: stop, and hand it back.
        cancel: bool,
    },
    /// Somebody else's now, or finished: stop.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The holder of the lease finished it.
    InTime,
    /// Somebody who had lost the lease finished it; a newer lease is void.
    Late,
    /// It was done already: a duplicate.
    Repeated,
    /// It is cancelled and stays so.
    Cancelled,
    Unknown,
}

/// What a failure or the loss of a lease did to the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    Requeued,
    /// Offered again at this time.
    RetryAt(Duration),
    /// Out of attempts: see [`LeaseTable::dead_letters`].
    Dead,
    /// A cancellation was waiting for it.
    Cancelled,
    /// The caller does not hold the lease: nothing changed.
    NotHeld,
}

/// A lease that ended without a word from its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub lease: LeaseId,
    pub owner: String,
    pub setback: Setback,
}

/// Why a shard failed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Error {
        class: ErrorClass,
        message: String,
    },
    /// The worker died, or was silent past the deadline.
    Crash,
}

/// A shard that is given up until a person looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub shard: u64,
    pub errors: u32,
    pub crashes: u32,
    pub worker: String,
    pub failure: Failure,
}

/// How far a worker says it is with a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Network evaluations, training steps or the like finished on this lease; only ever grows.
    pub ticks: u64,
    /// The same in words, for people: one line of at most [`NOTE_LIMIT`] bytes.
    pub note: String,
}

impl Progress {
    /// The same, its note made to fit.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        self.note.retain(|c| !c.is_control());
        self.note
            .truncate(self.note.floor_char_boundary(NOTE_LIMIT));
        self
    }
}

/// Longest note kept, bytes.
pub const NOTE_LIMIT: usize = 200;

impl From<u64> for Progress {
    fn from(ticks: u64) -> Self {
        Self {
            ticks,
            note: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLease {
    pub lease: LeaseId,
    pub since: Duration,
    /// When it is lost unless renewed.
    pub deadline: Duration,
    /// The owner's progress at its last renewal.
    pub progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Waiting for a worker.
    pub queued: u64,
    /// With a worker.
    pub leased: u64,
    /// Waiting for their next attempt.
    pub retrying: u64,
    pub done: u64,
    pub dead: u64,
    /// No longer wanted.
    pub cancelled: u64,
}

impl Counts {
    /// Shards that still need a worker.
    pub const fn outstanding(&self) -> u64 {
        self.queued + self.leased + self.retrying
    }
}

#[cfg(test)]
mod tests;
