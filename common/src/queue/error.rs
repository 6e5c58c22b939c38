//! What can go wrong with a queue.

use crate::wire::WireError;

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("the coordinator refused this worker: {0}")]
    Refused(String),
    #[error("'{shown}' is not the address of a queue: {reason}")]
    Address { shown: String, reason: String },
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Redis(String),
    #[error("queue at {address}: {source}")]
    Unreachable {
        address: String,
        source: std::io::Error,
    },
    #[error("the coordinator is gone: {0}")]
    Gone(String),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("queue protocol: {0}")]
    Protocol(String),
}
