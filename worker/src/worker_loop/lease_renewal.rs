//! Keeps a lease alive from its own thread, and only while the device thread makes progress.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anofpdm_common::queue::{self, LeaseId, WorkQueue};
use anofpdm_common::telemetry::in_context;

use super::drain::Drain;

/// What the device thread tells the renewal thread, and back.
#[derive(Debug)]
pub(super) struct JobProgress {
    ticks: AtomicU64,
    /// Grows while the device thread waits for other ranks: it makes no progress, but it does not hang.
    heartbeats: AtomicU64,
    /// The job does something between two pieces of work that may take long.
    interlude: AtomicBool,
    stop: AtomicBool,
    note: Mutex<String>,
    drain: Arc<Drain>,
}

impl JobProgress {
    pub(super) fn new(drain: &Arc<Drain>) -> Self {
        Self {
            ticks: AtomicU64::new(0),
            heartbeats: AtomicU64::new(0),
            interlude: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            note: Mutex::default(),
            drain: Arc::clone(drain),
        }
    }

    /// One network evaluation, or a piece of work about as long.
    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`tick`](Self::tick); breaks once the job should stop.
    pub(super) fn step(&self) -> ControlFlow<()> {
        self.tick();
        if self.stop_asked() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// This many pieces of work are done, counted by the job itself.
    pub(super) fn reach(&self, ticks: u64) {
        self.ticks.store(ticks, Ordering::Relaxed);
    }

    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// The device thread does not hang: it waits for other ranks.
    pub(super) fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with every sign of life of the device thread.
    pub(super) fn signs_of_life(&self) -> (u64, u64) {
        (self.ticks(), self.heartbeats.load(Ordering::Relaxed))
    }

    /// How often it was said.
    pub(super) fn heartbeats(&self) -> u64 {
        self.heartbeats.load(Ordering::Relaxed)
    }

    /// Says whether something comes before the next piece of work that may take long, until said otherwise.
    pub(super) fn set_interlude(&self, comes: bool) {
        self.interlude.store(comes, Ordering::Relaxed);
    }

    /// True while such a thing may be under way.
    pub(super) fn in_interlude(&self) -> bool {
        self.interlude.load(Ordering::Relaxed)
    }

    /// Says in words how far the job is.
    pub(super) fn note(&self, text: String) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// True once the job should stop: its lease is lost or cancelled, or the worker ends and the time to
    /// finish is over.
    pub(super) fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.drain.grace_over()
    }

    /// True once a job that can go on elsewhere should stop: as soon as the worker is asked to end.
    pub(super) fn stop_or_drain_asked(&self) -> bool {
        self.stop_asked() || self.drain.asked()
    }

    fn snapshot(&self) -> queue::Progress {
        queue::Progress {
            ticks: self.ticks.load(Ordering::Relaxed),
            note: self
                .note
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// The renewal thread of one lease.
#[derive(Debug)]
pub(super) struct LeaseRenewal {
    progress: Arc<JobProgress>,
    done: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl LeaseRenewal {
    pub(super) fn start(
        queue: &Arc<dyn WorkQueue>,
        lease: LeaseId,
        ttl: Duration,
        drain: &Arc<Drain>,
    ) -> Self {
        let progress = Arc::new(JobProgress::new(drain));
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let every = (ttl / 3).min(REPORT_EVERY);
        let thread = {
            let (queue, progress, done) =
                (Arc::clone(queue), Arc::clone(&progress), Arc::clone(&done));
            std::thread::spawn(in_context(move || {
                renew(queue.as_ref(), &lease, every, &progress, &done);
            }))
        };
        Self {
            progress,
            done,
            thread: Some(thread),
        }
    }

    pub(super) const fn progress(&self) -> &Arc<JobProgress> {
        &self.progress
    }

    /// Ends the thread: the job is over.
    pub(super) fn stop(mut self) {
        let (flag, signal) = self.done.as_ref();
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        signal.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the renewal thread panicked. This is a bug.");
        }
    }
}

/// Progress is shown to people, so it is reported more often than the lease needs.
const REPORT_EVERY: Duration = Duration::from_secs(2);

fn renew(
    queue: &dyn WorkQueue,
    lease: &LeaseId,
    every: Duration,
    progress: &JobProgress,
    done: &(Mutex<bool>, Condvar),
) {
    let (flag, signal) = done;
    let mut last_seen = None;
    loop {
        let guard = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) = signal
            .wait_timeout_while(guard, every, |done| !*done)
            .unwrap_or_else(PoisonError::into_inner);
        if *guard {
            return;
        }
        drop(guard);
        let now = progress.snapshot();
        let seen = progress.signs_of_life();
        if last_seen == Some(seen) {
            continue;
        }
        match queue.renew(lease, now) {
            Ok(queue::Renewal::Held { cancel }) => {
                last_seen = Some(seen);
                if cancel {
                    progress.stop.store(true, Ordering::Relaxed);
                }
            }
            // The result would still be welcome (same key, same bits), but somebody else has the work now.
            Ok(queue::Renewal::Lost) => progress.stop.store(true, Ordering::Relaxed),
            // Tried again at the same pace, also without new progress: none has been told yet.
            Err(error) => tracing::warn!(%error, "cannot renew the lease"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use anofpdm_common::plan::{Completion, WorkerInfo};
    use anofpdm_common::queue::{ErrorClass, Lease, QueueError, Take};

    use super::*;

    /// A queue that is out of reach; tells of every renewal asked of it.
    struct UnreachableQueue(Sender<()>);

    impl UnreachableQueue {
        fn error<T>() -> Result<T, QueueError> {
            Err(QueueError::Gone("away".to_owned()))
        }
    }

    impl WorkQueue for UnreachableQueue {
        fn register(&self, _: &WorkerInfo) -> Result<(), QueueError> {
            Self::error()
        }
        fn take(&self, _: Duration) -> Result<Take, QueueError> {
            Self::error()
        }
        fn renew(&self, _: &LeaseId, _: queue::Progress) -> Result<queue::Renewal, QueueError> {
            self.0.send(()).ok();
            Self::error()
        }
        fn complete(&self, _: &Lease, _: &Completion) -> Result<(), QueueError> {
            Self::error()
        }
        fn fail(&self, _: &LeaseId, _: ErrorClass, _: &str) -> Result<(), QueueError> {
            Self::error()
        }
        fn release(&self, _: &LeaseId) -> Result<(), QueueError> {
            Self::error()
        }
        fn rendezvous_set(&self, _: &Lease, _: &str, _: &[u8]) -> Result<(), QueueError> {
            Self::error()
        }
        fn rendezvous_get(&self, _: &Lease, _: &str) -> Result<Option<Vec<u8>>, QueueError> {
            Self::error()
        }
        fn leave(&self) -> Result<(), QueueError> {
            Self::error()
        }
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_without_new_progress() {
        let (sender, renewals) = channel();
        let queue: Arc<dyn WorkQueue> = Arc::new(UnreachableQueue(sender));
        let drain = Arc::new(Drain::new(Duration::MAX));
        let lease = LeaseId { shard: 1, epoch: 1 };
        let renewal = LeaseRenewal::start(&queue, lease, Duration::from_millis(30), &drain);
        for _ in 0..3 {
            renewals.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        assert!(!renewal.progress().stop_asked());
        renewal.stop();
    }
}
