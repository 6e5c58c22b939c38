//! The Redis driver: any number of machines, many runs side by side in one server (>= 7.0, or Valkey).
//!
//! ```text
//! worker                              Redis, keys anofpdm:{RUN}:…                 coordinator
//! RedisQueue -- take, renew, … ---->  lanes (streams), leases, retries, dead      RedisDispatcher
//!            -- XREAD BLOCK ------->  lanes                                             |
//!            -- claims, hellos ---->  claims, events, hello (streams)  <-- reads -- QueueHandler, journal
//! ```
//!
//! Each transition of the state machine is one Lua script (`scripts/`), so it happens whole or not at all,
//! and anything that could be cut in the middle is cut before or after it. Redis is transport: the
//! coordinator's journal and the artifact store are the record. [`RedisDispatcher`] remembers every unfinished
//! shard and submits again what the server has lost.
//!
//! Waiting is a plain `XREAD BLOCK` that consumes nothing, on a connection of its own: a read that is abandoned
//! half-way takes no shard with it. Times are the server's, so no other clock matters.

mod call_observer;
mod connection;
mod dispatcher;
mod endpoint;
mod keys;
mod messages;
mod probe;
mod reading;
mod scripts;
mod server;
mod worker;

pub use call_observer::{CallFailure, observe_calls};
pub use dispatcher::RedisDispatcher;
pub use endpoint::{
    CA_VARIABLE, Credentials, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, RedisEndpoint,
};
pub use messages::{DeliveredClaim, Hello};
pub use worker::RedisQueue;
