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

    /// What a rank has told under `key`, waiting for it up to `wait`. A look, without waiting, is no sign of life: NCCL's
    /// own threads look here while the device hangs.
    pub(super) fn read(
        &self,
        key: &str,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, QueueRendezvousError> {
        let until = Instant::now() + wait;
        loop {
            if !wait.is_zero() {
                // Waiting is all there is to do: it keeps the lease alive.
                self.progress.heartbeat();
            }
            if let Some(note) = self.queue.rendezvous_get(&self.lease, key)? {
                return Ok(Some(note));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if self.progress.stop_or_drain_asked() {
                return Err(QueueRendezvousError::CalledOff);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::ids::Digest;
    use anofpdm_common::plan::{Completion, GangRank, Job, Stage, Task, WorkerInfo};
    use anofpdm_common::queue::{ErrorClass, LeaseId, Progress, Renewal, Take};

    use super::*;
    use crate::collective::Timeouts;
    use crate::collective::stub::stub_rank;
    use crate::shim::stub_backend::{Behaviour, Operations};
    use crate::worker_loop::drain::Drain;

    /// A queue in which nobody has left a note.
    struct NoNotes;

    impl WorkQueue for NoNotes {
        fn register(&self, _: &WorkerInfo) -> Result<(), QueueError> {
            Ok(())
        }
        fn take(&self, _: Duration) -> Result<Take, QueueError> {
            Ok(Take::Empty)
        }
        fn renew(&self, _: &LeaseId, _: Progress) -> Result<Renewal, QueueError> {
            Ok(Renewal::Held { cancel: false })
        }
        fn complete(&self, _: &Lease, _: &Completion) -> Result<(), QueueError> {
            Ok(())
        }
        fn fail(&self, _: &LeaseId, _: ErrorClass, _: &str) -> Result<(), QueueError> {
            Ok(())
        }
        fn release(&self, _: &LeaseId) -> Result<(), QueueError> {
            Ok(())
        }
        fn rendezvous_set(&self, _: &Lease, _: &str, _: &[u8]) -> Result<(), QueueError> {
            Ok(())
        }
        fn rendezvous_get(&self, _: &Lease, _: &str) -> Result<Option<Vec<u8>>, QueueError> {
            Ok(None)
        }
        fn leave(&self) -> Result<(), QueueError> {
            Ok(())
        }
    }

    /// NCCL's heartbeat thread asks for a note every second, also while the device hangs.
    #[test]
    fn a_thread_that_looks_for_a_note_is_no_sign_of_life() {
        let queue: Arc<dyn WorkQueue> = Arc::new(NoNotes);
        let progress = Arc::new(JobProgress::new(&Arc::new(Drain::new(Duration::MAX))));
        let rank = GangRank {
            generation: 1,
            rank: 0,
            world: 2,
        };
        let lease = Lease {
            id: LeaseId { shard: 1, epoch: 1 },
            job: Job {
                plan: Digest::of(b"plan"),
                stage: Stage::Train,
                task: Task::Train(rank),
            },
            ttl: Duration::from_secs(60),
        };
        let rendezvous = Arc::new(QueueRendezvous::new(&queue, &lease, &progress));
        let behaviour = Behaviour {
            polls: true,
            ..Behaviour::of(Operations::Endless)
        };
        let (group, stub) = stub_rank(
            0,
            Arc::<QueueRendezvous>::clone(&rendezvous),
            Timeouts::default(),
            behaviour,
        )
        .unwrap();
        assert!(stub.comes(|seen| seen.polls > 10));
        assert_eq!(progress.heartbeats(), 0);
        drop(group);
        // Whoever waits for a note is at work.
        assert!(matches!(
            rendezvous.read("a", Duration::from_millis(1)),
            Ok(None)
        ));
        assert!(progress.heartbeats() > 0);
    }
}
