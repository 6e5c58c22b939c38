//! Watches a rank that trains with others, from a thread of its own: it keeps the lease alive while the rank waits for
//! its peers, and aborts the rank's collective operations when the gang is called off, or when no step ends for so long
//! that a peer or the device must be lost. What an abort does not end, a kernel that hangs, ends with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anofpdm_common::telemetry::in_context;

use crate::collective::Group;
use crate::train::trainer::WRITE_TIMEOUT;

use super::lease_renewal::JobProgress;
use super::step_times::StepTimes;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A rank that is called off stops after its step, with a checkpoint; when no step ends for so long, the others are
/// taken for gone.
const SHORTEST_GRACE: Duration = Duration::from_secs(3);
/// The same before the first step, which is the slowest.
const FIRST_GRACE: Duration = Duration::from_secs(10);
/// Steps that fit in the grace.
const STEPS_OF_GRACE: u32 = 3;

/// How long a watched rank may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Beyond an operation, to the end of the first step, which loads and compiles kernels.
    first_step: Duration,
    /// Beyond an operation, to the end of another, at least.
    shortest_grace: Duration,
    /// From an abort to the end of what the rank was doing.
    after_abort: Duration,
}

const LIMITS: Limits = Limits {
    first_step: Duration::from_secs(60),
    shortest_grace: SHORTEST_GRACE,
    after_abort: Duration::from_secs(30),
};

/// The thread; ends when dropped.
#[derive(Debug)]
pub(super) struct RankWatchdog {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RankWatchdog {
    /// Begins to watch `group`.
    pub(super) fn start(group: Arc<Group>, progress: &Arc<JobProgress>) -> Self {
        Self::start_within(group, progress, LIMITS, || {
            // At once: the destructors of an ordered exit would wait for the device. The supervisor starts another worker.
            signal_hook::low_level::exit(1);
        })
    }

    /// As [`start`](Self::start), but `give_up` ends a process that an abort does not set free.
    fn start_within(
        group: Arc<Group>,
        progress: &Arc<JobProgress>,
        limits: Limits,
        give_up: impl FnOnce() + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (over, progress) = (Arc::clone(&over), Arc::clone(progress));
            std::thread::spawn(in_context(move || {
                if watch_rank(group.as_ref(), &progress, &over, limits) == Watched::Stuck {
                    tracing::error!(
                        rank = group.rank(),
                        "the device does not answer although the other ranks are given up: this process ends"
                    );
                    give_up();
                }
            }))
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

/// How watching ended.
#[derive(Debug, PartialEq, Eq)]
enum Watched {
    /// The rank has returned.
    Returned,
    /// It was to return and has not.
    Stuck,
}

fn watch_rank(group: &Group, progress: &JobProgress, over: &AtomicBool, limits: Limits) -> Watched {
    let mut times = StepTimes::new(Instant::now());
    let grace_or = |times: &StepTimes, first| grace(times, first, limits.shortest_grace);
    // Heartbeats of this thread's own.
    let mut own = 0;
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        let others = progress.heartbeats().saturating_sub(own);
        times.observe(progress.ticks(), others, now);
        // An operation that waits longer than this fails by itself; a device that hangs must lose its lease.
        let longest = match progress.in_interlude() {
            true => WRITE_TIMEOUT,
            false => group.timeout(),
        };
        let late = times.since_life(now) > longest + grace_or(&times, limits.first_step);
        if late {
            tracing::warn!(
                rank = group.rank(),
                "no step has ended for {:?}: another rank or the device is lost",
                times.since_life(now)
            );
        } else {
            progress.heartbeat();
            own += 1;
        }
        let called_off =
            progress.stop_asked() && times.since_step(now) > grace_or(&times, FIRST_GRACE);
        if called_off {
            tracing::warn!(
                rank = group.rank(),
                "called off while the other ranks are out of reach"
            );
        }
        if late || called_off {
            group.abort();
            return after_abort(over, limits.after_abort);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Watched::Returned
}

/// Waits for the rank to return from what was aborted.
fn after_abort(over: &AtomicBool, limit: Duration) -> Watched {
    let start = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if start.elapsed() > limit {
            return Watched::Stuck;
        }
        std::thread::sleep(LOOK_EVERY.min(limit));
    }
    Watched::Returned
}

/// What a step may take beyond an operation: `first` before the first step has ended.
fn grace(times: &StepTimes, first: Duration, shortest: Duration) -> Duration {
    times.longest().map_or(first, |longest| {
        longest.saturating_mul(STEPS_OF_GRACE).max(shortest)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use crate::collective::Timeouts;
    use crate::collective::stub::stub_group;
    use crate::shim::stub_backend::{Behaviour, Operations, StubState};
    use crate::worker_loop::drain::Drain;

    use super::*;

    #[test]
    fn the_grace_follows_the_steps() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut times = StepTimes::new(start);
        let grace = |times: &StepTimes| grace(times, FIRST_GRACE, SHORTEST_GRACE);
        assert_eq!(grace(&times), FIRST_GRACE);
        times.observe(1, 0, at(40));
        assert_eq!(grace(&times), FIRST_GRACE, "the first step says nothing");
        times.observe(2, 0, at(51));
        assert_eq!(grace(&times), Duration::from_secs(33));
        times.observe(3, 0, at(52));
        assert_eq!(grace(&times), Duration::from_secs(33));
        let mut quick = StepTimes::new(start);
        quick.observe(1, 0, at(1));
        quick.observe(2, 0, at(1));
        assert_eq!(grace(&quick), SHORTEST_GRACE);
    }

    /// The watchdog of a rank in whose operations nothing moves; the receiver hears that the process is given up.
    fn watched(after_abort: Duration) -> (RankWatchdog, StubState, Receiver<()>) {
        let timeouts = Timeouts {
            connect: Duration::from_secs(60),
            operation: Duration::from_millis(200),
        };
        let behaviour = Behaviour::of(Operations::Endless);
        let (group, stub) = stub_group(timeouts, behaviour).unwrap();
        let progress = Arc::new(JobProgress::new(&Arc::new(Drain::new(Duration::MAX))));
        let limits = Limits {
            first_step: Duration::from_millis(100),
            shortest_grace: Duration::from_millis(100),
            after_abort,
        };
        let (sender, given_up) = channel();
        let give_up = move || sender.send(()).unwrap();
        let watchdog = RankWatchdog::start_within(Arc::new(group), &progress, limits, give_up);
        (watchdog, stub, given_up)
    }

    /// In the backward pass of a GPU the host waits for the stream, and that for the other ranks: nothing but an abort
    /// ends it, and nobody has called the rank off.
    #[test]
    fn a_rank_whose_step_does_not_end_is_aborted() {
        let (watchdog, stub, given_up) = watched(Duration::from_secs(3_600));
        assert!(stub.comes(|seen| seen.aborted));
        drop(watchdog);
        assert!(given_up.recv().is_err(), "it has returned in time");
    }

    #[test]
    fn a_process_whose_device_hangs_after_the_abort_is_given_up() {
        let (_watchdog, stub, given_up) = watched(Duration::from_millis(200));
        given_up.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(stub.seen().aborted);
    }
}
