//! One frame of the journal.

use anofpdm_common::ids::Digest;
use anofpdm_common::queue::LeaseId;
use anofpdm_common::wire::{Kind, Message};
use anofpdm_common::work::{NumericProfile, Stage};
use serde::{Deserialize, Serialize};

/// One frame of the journal. The order of variants and fields is its format: see `docs/formats.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The run was created for this spec and these slices.
    Created {
        /// Digest of the normalised spec.
        spec: Digest,
        /// Digest of the slice store's content.
        data: Digest,
        /// Names the run in a queue: no two creations share it.
        run: String,
    },
    /// The numeric profile every worker of this run must have.
    Profile(NumericProfile),
    /// A network's weights are known.
    Weights {
        /// Name in the spec.
        network: String,
        /// The weights file in the artifact store.
        weights: Digest,
    },
    /// The work of a stage is known.
    Planned {
        /// Which stage.
        stage: Stage,
        /// The plan in the artifact store.
        plan: Digest,
        /// Records the stage is made of.
        records: u64,
    },
    /// A shard was delivered and its records verified.
    Delivered {
        /// Stage of the shard.
        stage: Stage,
        /// Record keys and record digests.
        records: Vec<(Digest, Digest)>,
        /// Evaluations of real slices; 0 for records taken from the cache.
        evaluations: u64,
        /// Evaluations spent on padding.
        padding: u64,
        /// Device time, milliseconds.
        device_millis: u64,
        /// Who delivered it; [`CACHE`] for records taken from the cache.
        worker: String,
        /// Under which lease: with the worker it names the delivery.
        lease: LeaseId,
        /// The shard was run to compare it with an earlier delivery.
        audit: bool,
    },
    /// A coordinator stopped in good order after this long.
    Stopped {
        /// Time it was at work, milliseconds.
        wall_millis: u64,
    },
    /// A worker gave wrong bits: what only it delivered does not count any more.
    Distrusted {
        /// Its name.
        worker: String,
        /// What it did.
        reason: String,
    },
}

/// The "worker" that delivers records of the cache. No worker's name: those end in a digest.
pub const CACHE: &str = "cache";

impl Message for Entry {
    const KIND: Kind = Kind::Journal;
}
