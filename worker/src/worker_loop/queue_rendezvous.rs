//! Where the ranks of a gang find each other: notes in the queue, so that no worker's loss is the loss of the place
//! where they meet (docs/architecture.md, "Training together").

use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::queue::{Lease, QueueError, WorkQueue};

use crate::collective::Rendezvous;

use super::lease_renewal::JobProgress;

/// Pause between two looks for a note.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The notes of one gang, as one of its ranks sees them.
pub(super) struct QueueRendezvous {
    queue: Arc<dyn WorkQueue>,
    lease: Lease,
    progress: Arc<JobProgress>,
}

/// Why a rank cannot meet the others.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueRendezvousError {
    #[error("called off")]
    CalledOff,
    #[error("the ranks cannot find each other through the queue: {0}")]
    Queue(#[from] QueueError),
}

impl std::fmt::Debug for QueueRendezvous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueRendezvous")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Rendezvous for QueueRendezvous {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.post(key, value).map_err(|error| error.to_string())
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        self.read(key, wait).map_err(|error| error.to_string())
    }
}

impl QueueRendezvous {
    pub(super) fn new(
        queue: &Arc<dyn WorkQueue>,
        lease: &Lease,
        progress: &Arc<JobProgress>,
    ) -> Self {
        Self {
            queue: Arc::clone(queue),
            lease: lease.clone(),
            progress: Arc::clone(progress),
        }
    }

    /// Tells the other ranks.
    pub(super) fn post(&self, key: &str, note: &[u8]) -> Result<(), QueueRendezvousError> {
        Ok(self.queue.rendezvous_set(&self.lease, key, note)?)
    }

    /// What a rank has told under `key`, waiting for it up to `wait`.
    pub(super) fn read(
        &self,
        key: &str,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, QueueRendezvousError> {
        let until = Instant::now() + wait;
        loop {
            // Waiting is all there is to do: it keeps the lease alive.
            self.progress.heartbeat();
            if let Some(note) = self.queue.rendezvous_get(&self.lease, key)? {
                return Ok(Some(note));
            }
            if self.progress.stop_or_drain_asked() {
                return Err(QueueRendezvousError::CalledOff);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
