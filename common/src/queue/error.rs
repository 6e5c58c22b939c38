//! What can go wrong with a queue.

use crate::wire::WireError;

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
