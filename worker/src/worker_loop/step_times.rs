//! When the steps of a job end, and when it last showed a sign of life.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct StepTimes {
    ticks: u64,
    last: Instant,
    /// What the job says of itself between steps, while it reads a store for instance.
    heartbeats: u64,
    life: Instant,
    longest: Option<Duration>,
}

impl StepTimes {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            ticks: 0,
            last: now,
            heartbeats: 0,
            life: now,
            longest: None,
        }
    }

    /// The job has counted so many steps and signs of life so far.
    pub(super) fn observe(&mut self, ticks: u64, heartbeats: u64, now: Instant) {
        if heartbeats != self.heartbeats {
            self.heartbeats = heartbeats;
            self.life = now;
        }
        if ticks != self.ticks {
            // The first step includes getting ready.
            if self.ticks != 0 {
                self.longest = self.longest.max(Some(now - self.last));
            }
            self.ticks = ticks;
            self.last = now;
            self.life = now;
        }
    }

    /// This process stood still until now, whatever the job did before.
    pub(super) const fn resume(&mut self, now: Instant) {
        self.last = now;
        self.life = now;
    }

    /// Since a step ended or the job said otherwise that it is at work.
    pub(super) fn since_life(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.life)
    }

    pub(super) fn since_step(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }

    /// The longest step but the first; none before the second has ended.
    pub(super) const fn longest(&self) -> Option<Duration> {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_signs_of_life_are_told_apart() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut times = StepTimes::new(start);
        times.observe(1, 0, at(40));
        assert_eq!(times.longest(), None, "the first step says nothing");
        times.observe(1, 0, at(50));
        assert_eq!(times.since_step(at(50)), Duration::from_secs(10));
        times.observe(2, 0, at(51));
        assert_eq!(times.longest(), Some(Duration::from_secs(11)));
        times.observe(2, 1, at(55));
        assert_eq!(times.since_step(at(56)), Duration::from_secs(5));
        assert_eq!(times.since_life(at(56)), Duration::from_secs(1));
        times.resume(at(900));
        assert_eq!(times.since_life(at(901)), Duration::from_secs(1));
        assert_eq!(times.longest(), Some(Duration::from_secs(11)));
    }

    /// What a job does between steps, reading a store for instance, may take as long as it likes.
    #[test]
    fn one_that_says_that_it_is_at_work_is_never_silent() {
        let start = Instant::now();
        let mut times = StepTimes::new(start);
        for minute in 1..10 {
            let now = start + Duration::from_secs(60 * minute);
            times.observe(0, minute, now);
            assert_eq!(times.since_life(now), Duration::ZERO);
            assert_eq!(times.since_step(now), now - start);
        }
    }
}
