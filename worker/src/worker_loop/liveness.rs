//! Whether the job at work moves on, and what happens when it does not.
//!
//! A device that hangs takes the thread that owns it along: the lease is lost and the coordinator goes on without this
//! worker, but the device stays taken until the process ends. So a thread of its own watches, answers `/livez` and
//! systemd's watchdog, and ends the process when nothing moves for too long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lease_renewal::JobProgress;
use super::step_times::StepTimes;

/// How often the watching thread looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks further apart than this mean that this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(10);

/// A job of slow steps may take so many of its longest ones.
const STEPS: u32 = 10;

/// Exit code of a worker whose device hangs: another may be started.
pub const HUNG: i32 = 4;

/// The job at work, as the watching thread sees it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Liveness {
    shortest: Duration,
    watched: Arc<Mutex<Option<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    progress: Arc<JobProgress>,
    times: StepTimes,
    /// What the job is, for the log.
    context: tracing::Span,
}

impl Liveness {
    /// No job is at work; one hangs that does not move for `shortest`, or for ten of its own steps if that is longer.
    pub fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            watched: Arc::default(),
        }
    }

    /// A job begins; it ends when what is returned is dropped.
    pub(super) fn begin(&self, progress: &Arc<JobProgress>) -> JobAtWork<'_> {
        *self.watched() = Some(Watched {
            progress: Arc::clone(progress),
            times: StepTimes::new(Instant::now()),
            context: tracing::Span::current(),
        });
        JobAtWork(self)
    }

    /// How long the job at work has been silent, when that is too long. A worker without a job does not hang.
    pub fn hangs(&self) -> Option<Duration> {
        self.hangs_at(Instant::now())
    }

    fn hangs_at(&self, now: Instant) -> Option<Duration> {
        let mut watched = self.watched();
        let Watched {
            progress, times, ..
        } = watched.as_mut()?;
        let (ticks, heartbeats) = progress.signs_of_life();
        times.observe(ticks, heartbeats, now);
        let silent = times.since_life(now);
        let steps = times.longest().unwrap_or_default().saturating_mul(STEPS);
        (silent > self.shortest.max(steps)).then_some(silent)
    }

    /// Watches from a thread of its own: tells systemd that all is well while it is, and ends this process when the job
    /// at work hangs.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn watch(&self) -> std::io::Result<()> {
        let liveness = self.clone();
        std::thread::Builder::new()
            .name("liveness".to_owned())
            .spawn(move || {
                let mut looked = Instant::now();
                loop {
                    // A process that was stopped, or a machine that slept, is no device that hangs.
                    if looked.elapsed() > STOOD_STILL
                        && let Some(watched) = liveness.watched().as_mut()
                    {
                        watched.times.resume(Instant::now());
                    }
                    looked = Instant::now();
                    if let Some(silent) = liveness.hangs() {
                        let context = liveness.watched().as_ref().map(|job| job.context.clone());
                        let _context = context.map(tracing::Span::entered);
                        tracing::error!(
                            seconds = silent.as_secs(),
                            "the job at work does not move: this worker ends, so that its device is free again"
                        );
                        // Destructors would wait for the device.
                        signal_hook::low_level::exit(HUNG);
                    }
                    notify(&[sd_notify::NotifyState::Watchdog]);
                    std::thread::sleep(LOOK_EVERY);
                }
            })
            .map(drop)
    }

    fn watched(&self) -> MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that is watched.
#[derive(Debug)]
pub(super) struct JobAtWork<'a>(&'a Liveness);

impl Drop for JobAtWork<'_> {
    fn drop(&mut self) {
        *self.0.watched() = None;
    }
}

/// Tells systemd, where it has started this process.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::super::drain::Drain;
    use super::*;

    #[test]
    fn a_job_hangs_after_the_shortest_time_or_ten_of_its_steps() {
        let minute = Duration::from_secs(60);
        let liveness = Liveness::new(minute);
        let drain = Arc::new(Drain::new(Duration::ZERO));
        let progress = Arc::new(JobProgress::new(&drain));
        let start = Instant::now();
        assert_eq!(liveness.hangs_at(start + 1000 * minute), None, "no job");
        let job = liveness.begin(&progress);
        assert_eq!(liveness.hangs_at(start + minute / 2), None);
        assert!(liveness.hangs_at(start + 3 * minute).is_some());
        progress.tick();
        assert_eq!(liveness.hangs_at(start + 3 * minute), None);
        // A step of twenty minutes: two hundred may pass.
        progress.tick();
        assert_eq!(liveness.hangs_at(start + 23 * minute), None);
        assert_eq!(liveness.hangs_at(start + 220 * minute), None);
        assert!(liveness.hangs_at(start + 224 * minute).is_some());
        // Waiting for others is no hanging.
        progress.heartbeat();
        assert_eq!(liveness.hangs_at(start + 224 * minute), None);
        drop(job);
        assert_eq!(liveness.hangs_at(start + 9000 * minute), None);
    }
}
