//! What became of shards, as the scheduler hears of it.

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::{ErrorClass, LeaseId};

/// Something the scheduler has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShardEvent {
    Begun {
        lease: LeaseId,
        worker: String,
    },
    /// A lease ended without a result.
    Ended {
        lease: LeaseId,
        how: Ending,
    },
    /// A result counts, or repeats one that does.
    Accepted {
        /// The lease it was delivered under.
        lease: LeaseId,
        /// Network evaluations, padding included.
        evaluations: u64,
        /// Time the device worked, milliseconds.
        device_millis: u64,
    },
    /// These keys need another delivery.
    Contested {
        keys: Vec<Digest>,
        /// Who made the delivery that left them so.
        by: String,
    },
    /// A worker is not to be given anything any more.
    Distrusted {
        worker: String,
        reason: String,
    },
}

/// How a lease ended that brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    HandedBack,
    /// The worker died, or was silent for too long.
    Died {
        /// The worker. It may still be there: stopped, or cut off.
        worker: String,
    },
    Failed {
        class: ErrorClass,
        message: String,
    },
}
