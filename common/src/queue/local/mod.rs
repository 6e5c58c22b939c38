//! The local driver: the coordinator is the queue, and workers reach it over a Unix socket.
//!
//! ```text
//! worker process                                coordinator process
//! LocalQueue  -- connection for takes ------->  a task per connection (tokio)
//!             -- connection for the rest ---->          | bounded channel
//!                                               LocalDispatcher on the run's thread: InMemoryQueue + QueueHandler
//! ```
//!
//! Takes wait on a connection of their own, so a renewal never stands behind one. The end of the other
//! connection is the end of the worker: its leases are free at once. The end of the coordinator is the end
//! of the queue: calls fail with [`QueueError::Gone`](super::QueueError), and workers exit.
//!
//! Only processes of the same user get in: the socket has mode 0600 in a folder of mode 0700, and the
//! peer's user id is checked.

mod client;
#[cfg(feature = "serve")]
mod dispatcher;
mod protocol;
#[cfg(feature = "serve")]
mod server;

pub use client::LocalQueue;
#[cfg(feature = "serve")]
pub use dispatcher::LocalDispatcher;
pub use protocol::{Request, Response};

#[cfg(feature = "serve")]
#[cfg(test)]
mod tests;
