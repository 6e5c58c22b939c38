//! Watches a rank that trains with others, from a thread of its own: it keeps the lease alive while the rank waits for
//! its peers, and aborts the rank's collective operations when the gang is called off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::collective::Group;
use crate::train::trainer::WRITE_TIMEOUT;

use super::lease_renewal::JobProgress;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A rank that is called off stops after its step, with a checkpoint; when no step ends for so long, the others are
/// taken for gone.
const SHORTEST_GRACE: Duration = Duration::from_secs(3);
/// The same before the first step, which is the slowest.
const FIRST_GRACE: Duration = Duration::from_secs(10);
/// Steps that fit in the grace.
const STEPS_OF_GRACE: u32 = 3;

/// The thread; ends when dropped.
#[derive(Debug)]
pub(super) struct RankWatchdog {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RankWatchdog {
    /// Begins to watch `group`.
    pub(super) fn start(group: Arc<Group>, progress: &Arc<JobProgress>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (over, progress) = (Arc::clone(&over), Arc::clone(progress));
            std::thread::spawn(move || watch_rank(group.as_ref(), &progress, &over))
        };
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for RankWatchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches a rank panicked. This is a bug.");
        }
    }
}

fn watch_rank(group: &Group, progress: &JobProgress, over: &AtomicBool) {
    let mut times = StepTimes::new(Instant::now());
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        times.observe(progress.ticks(), now);
        // An operation that waits longer than this fails by itself; a device that hangs must lose its lease.
        let longest = match progress.in_interlude() {
            true => WRITE_TIMEOUT,
            false => group.timeout(),
        };
        if times.since_step(now) < longest + times.grace() {
            progress.heartbeat();
        }
        if progress.stop_asked() && times.since_step(now) > times.grace() {
            tracing::warn!(
                rank = group.rank(),
                "called off while the other ranks are out of reach"
            );
            group.abort();
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// When steps end.
#[derive(Debug)]
struct StepTimes {
    ticks: u64,
    last: Instant,
    longest: Option<Duration>,
}

impl StepTimes {
    const fn new(now: Instant) -> Self {
        Self {
            ticks: 0,
            last: now,
            longest: None,
        }
    }

    fn observe(&mut self, ticks: u64, now: Instant) {
        if ticks != self.ticks {
            // The first step includes getting ready.
            if self.ticks != 0 {
                self.longest = self.longest.max(Some(now - self.last));
            }
            self.ticks = ticks;
            self.last = now;
        }
    }

    fn since_step(&self, now: Instant) -> Duration {
        now - self.last
    }

    fn grace(&self) -> Duration {
        self.longest.map_or(FIRST_GRACE, |longest| {
            longest.saturating_mul(STEPS_OF_GRACE).max(SHORTEST_GRACE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_follows_the_steps() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut times = StepTimes::new(start);
        assert_eq!(times.grace(), FIRST_GRACE);
        times.observe(1, at(40));
        assert_eq!(times.grace(), FIRST_GRACE, "the first step says nothing");
        times.observe(1, at(50));
        assert_eq!(times.since_step(at(50)), Duration::from_secs(10));
        times.observe(2, at(51));
        assert_eq!(times.grace(), Duration::from_secs(33));
        times.observe(3, at(52));
        assert_eq!(times.grace(), Duration::from_secs(33));
        let mut quick = StepTimes::new(start);
        quick.observe(1, at(1));
        quick.observe(2, at(1));
        assert_eq!(quick.grace(), SHORTEST_GRACE);
    }
}
