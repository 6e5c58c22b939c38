//! Jobs from the coordinator to the workers, at least once, through leases.
//!
//! A worker sees [`WorkQueue`] and a coordinator sees [`Dispatch`]; neither knows which driver runs: [`local`], the
//! coordinator itself over a Unix socket, or `redis`, a Redis server for any number of machines and runs. Both traits
//! are blocking: workers have plain threads, and the coordinator drives its run from one.
//!
//! Who owns what:
//!
//! - the *queue* owns leases, deadlines, error and crash counters, backoff, and the list of workers; [`lease`] is the
//!   specification of its state machine;
//! - the *worker* owns its progress: it renews only when its device has moved on, from a thread of its own,
//!   and it may not renew on behalf of a stuck device;
//! - the *coordinator* owns the truth. It is asked through [`QueueHandler`] before a worker is let in and before
//!   a result counts, and writes its journal before it answers. First, duplicate or conflict is decided
//!   there for each record key; the queue knows shards only.
//!
//! A result the coordinator rejects (its records fail verification) is an error of class
//! [`ErrorClass::Transient`] with the coordinator's reason: most likely that worker or its disk is at fault
//! and another attempt is right; three times wrong is dead. It is not `BadInput`, which says that the *job*
//! is wrong.

mod address;
mod dispatch;
mod error;
pub mod in_memory;
pub mod lease;
pub mod local;
mod priority;
#[cfg(feature = "redis")]
pub mod redis;
pub mod rendezvous_store;
mod worker;

pub use address::{QueueAddress, RedisAddress};
pub use dispatch::{Claim, Dispatch, Event, QueueHandler, Submission, Verdict, WorkerStatus};
pub use error::QueueError;
pub use lease::{
    Counts, DeadLetter, ErrorClass, LeaseConfig, LeaseId, LiveLease, Progress, Renewal, Setback,
};
pub use priority::Priority;
pub use worker::{LONGEST_TTL, Lease, Take, WorkQueue};

/// Reads what `anofpdm run --queue` was given, and looks whether the credentials in the environment can be used.
///
/// # Errors
/// [`QueueError::Address`]; [`QueueError::Settings`] for credentials that cannot be used.
pub fn address_for_run(text: &str) -> Result<QueueAddress, QueueError> {
    check_credentials(QueueAddress::for_run(text)?)
}

/// Reads what a worker's `--queue` was given, and looks whether the credentials in the environment can be used.
pub fn address_for_worker(text: &str) -> Result<QueueAddress, QueueError> {
    check_credentials(QueueAddress::for_worker(text)?)
}

fn check_credentials(address: QueueAddress) -> Result<QueueAddress, QueueError> {
    #[cfg(feature = "redis")]
    if let QueueAddress::Redis(server) = &address {
        redis::RedisEndpoint::from_url(&server.text)?;
    }
    Ok(address)
}

impl QueueError {
    /// True while the server is away for a moment: what was to be said can be said again later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

/// Connects a worker to the queue at `address`: `unix:PATH`, `redis://…` or `rediss://…`. In Redis it serves
/// the run named, until that is over, or else every run there is.
pub fn connect(
    address: &str,
    #[cfg_attr(not(feature = "redis"), allow(unused_variables))] run: Option<&str>,
) -> Result<Box<dyn WorkQueue>, QueueError> {
    match address_for_worker(address)? {
        QueueAddress::Socket(path) => Ok(Box::new(local::LocalQueue::connect(&path)?)),
        #[cfg(feature = "redis")]
        QueueAddress::Redis(server) => Ok(Box::new(redis::RedisQueue::new(&server.text, run)?)),
        other => Err(QueueError::Settings(format!(
            "this program was built without a driver for {other:?}"
        ))),
    }
}
