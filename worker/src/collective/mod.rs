//! Ranks that train together: sums and copies over all of them, on libtorch's c10d.
//!
//! A rank is a process with a device. Ranks find each other through a [`Rendezvous`], which a queue
//! can be; then they talk to each other directly: CPUs over Gloo (TCP), GPUs over NCCL. An operation
//! waits for every rank: one that is gone makes it fail at once, one that hangs after the timeout.
//! After a failure a group is of no further use.

pub mod gloo;
pub mod group;
pub mod nccl;
pub mod rendezvous;
#[cfg(test)]
pub(crate) mod stub;

use std::ops::Range;
use std::time::Duration;

pub use group::{GradientSum, Group};
pub use rendezvous::{MemoryRendezvous, Rendezvous};

/// The place of a rank among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Rank, from 0.
    pub rank: usize,
    pub world: usize,
}

impl Membership {
    /// This rank's places in a global batch. The first ranks have one more where it does not divide.
    pub fn share(self, batch: usize) -> Range<usize> {
        let world = self.world.max(1);
        let start = |rank: usize| rank * (batch / world) + rank.min(batch % world);
        start(self.rank)..start(self.rank + 1)
    }
}

/// How long ranks wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For all ranks to appear.
    pub connect: Duration,
    /// For one operation afterwards. A rank that is later than this counts as hung.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(120),
            operation: Duration::from_secs(60),
        }
    }
}

/// Why ranks cannot go on together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    #[error(
        "rank {rank} of a world of {world}: ranks count from 0 and a world has at most {MAX_WORLD}"
    )]
    Membership { rank: usize, world: usize },
    #[error("rank {rank} of {world} has not found the others: {reason}")]
    Connect {
        rank: usize,
        world: usize,
        reason: String,
    },
    #[error("{library} does not load: {reason}")]
    Library {
        library: &'static str,
        reason: String,
    },
    /// An operation failed: another rank is gone.
    #[error("rank {rank} of {world}: {operation} failed, another rank may be gone: {reason}")]
    Failed {
        rank: usize,
        world: usize,
        operation: &'static str,
        reason: String,
    },
    /// An operation did not end: another rank hangs.
    #[error("rank {rank} of {world}: {operation} not done after {after:?}, another rank may hang")]
    TimedOut {
        rank: usize,
        world: usize,
        operation: &'static str,
        after: Duration,
    },
    #[error("rank {rank} of {world}: the group was aborted during {operation}")]
    Aborted {
        rank: usize,
        world: usize,
        operation: &'static str,
    },
}

/// Ranks of a world, at most: those of a gang.
pub const MAX_WORLD: usize = anofpdm_common::plan::MAX_WORLD as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_and_differ_by_one_at_most() {
        for (batch, world) in [(8, 1), (8, 2), (8, 3), (7, 4), (4, 4), (64, 5)] {
            let mut end = 0;
            for rank in 0..world {
                let share = Membership { rank, world }.share(batch);
                assert_eq!(share.start, end);
                assert!((batch / world..=batch.div_ceil(world)).contains(&share.len()));
                end = share.end;
            }
            assert_eq!(end, batch);
        }
    }
}
