//! Where the ranks of a gang find each other: notes in the queue, so that no worker's loss is the loss of the
//! meeting place (DESIGN 9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::queue::{Lease, QueueError, WorkQueue};

use crate::collective::Rendezvous;

use super::renewal::Progress;

/// Pause between two looks at the board.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The board of one gang, as one of its ranks sees it.
pub(super) struct Meeting {
    queue: Arc<dyn WorkQueue>,
    lease: Lease,
    progress: Arc<Progress>,
}

/// Why a rank cannot meet the others.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeetingError {
    /// The gang was called off, or this worker is to end.
    #[error("called off")]
    CalledOff,
    /// The queue failed.
    #[error("the ranks cannot find each other through the queue: {0}")]
    Queue(#[from] QueueError),
}

impl std::fmt::Debug for Meeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meeting")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Rendezvous for Meeting {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.post(key, value).map_err(|error| error.to_string())
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        self.read(key, wait).map_err(|error| error.to_string())
    }
}

impl Meeting {
    pub(super) fn new(queue: &Arc<dyn WorkQueue>, lease: &Lease, progress: &Arc<Progress>) -> Self {
        Self {
            queue: Arc::clone(queue),
            lease: lease.clone(),
            progress: Arc::clone(progress),
        }
    }

    /// Tells the other ranks.
    ///
    /// # Errors
    /// [`MeetingError::Queue`].
    pub(super) fn post(&self, key: &str, note: &[u8]) -> Result<(), MeetingError> {
        Ok(self.queue.rendezvous_set(&self.lease, key, note)?)
    }

    /// What a rank has told under `key`, waiting for it up to `wait`.
    ///
    /// # Errors
    /// [`MeetingError`].
    pub(super) fn read(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, MeetingError> {
        let until = Instant::now() + wait;
        loop {
            // Waiting is all there is to do: it keeps the lease alive.
            self.progress.live();
            if let Some(note) = self.queue.rendezvous_get(&self.lease, key)? {
                return Ok(Some(note));
            }
            if self.progress.stop_or_drain_asked() {
                return Err(MeetingError::CalledOff);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
