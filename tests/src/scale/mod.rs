//! A sweep of the size of a benchmark on fake devices: what it asks of the coordinator, of Redis and of a worker beside
//! its device.
//!
//! Coordinator, Redis, worker loop, records, journal and evaluation are the product's; only the networks are cheap
//! arithmetic ([`fake`](crate::fake)). A fleet is either a process a worker, on slices and records of real size, or many
//! workers as threads of one process, on slices so small that what is left is the cost of the fleet itself.

pub mod fleet;
pub mod ground;
pub mod measurement;
pub mod moment;
pub mod simulated;

use std::time::Duration;

/// The fleet that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// A process each.
    Processes(usize),
    /// Threads of one process, each with its own connections to the queue.
    Simulated(usize),
}

impl Workers {
    pub const fn count(self) -> usize {
        match self {
            Self::Processes(count) | Self::Simulated(count) => count,
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Slices scored.
    pub slices: usize,
    pub workers: Workers,
    /// Duration of one network evaluation on a fake device.
    pub evaluation: Duration,
}
