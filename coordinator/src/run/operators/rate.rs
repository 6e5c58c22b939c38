//! How fast a stage goes, and when it will be done.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps forward that the rate is taken over: many short shards or few long ones, it is the same number of them.
const STEPS: usize = 64;

/// Steps closer together than this are one: many workers that report all the time leave the rate a past to look at.
const APART: Duration = Duration::from_millis(500);

/// Watches a counter and says how fast it grows. Time in which the run is paused does not count.
#[derive(Debug)]
pub(in crate::run) struct Rate {
    /// Time at work and the counter at each step forward; the first is where the watching began.
    steps: VecDeque<(Duration, f64)>,
    /// Time at work so far.
    active: Duration,
    last: Instant,
    paused: bool,
}

impl Rate {
    /// Watches from now on a counter that stands at `done`.
    pub(in crate::run) fn new(done: f64, now: Instant) -> Self {
        Self {
            steps: VecDeque::from([(Duration::ZERO, done)]),
            active: Duration::ZERO,
            last: now,
            paused: false,
        }
    }

    /// The counter stands at `done`; from now on the run is paused, or it is not.
    pub(in crate::run) fn look(&mut self, done: f64, paused: bool, now: Instant) {
        if !self.paused {
            self.active += now.saturating_duration_since(self.last);
        }
        self.last = now;
        self.paused = paused;
        let newest = self.steps.back().map_or(0.0, |(_, done)| *done);
        if done < newest {
            // Records were taken back: what was watched so far says nothing any more.
            self.steps.clear();
        }
        if done > newest || self.steps.is_empty() {
            // The first is no step: it is where the watching began.
            let close = self.steps.len() > 2
                && self
                    .steps
                    .iter()
                    .nth_back(1)
                    .is_some_and(|(at, _)| self.active.saturating_sub(*at) < APART);
            if close {
                self.steps.pop_back();
            }
            self.steps.push_back((self.active, done));
        }
        if self.steps.len() > STEPS + 1 {
            self.steps.pop_front();
        }
    }

    /// Units a second; none before the first step forward.
    pub(in crate::run) fn per_second(&self) -> Option<f64> {
        let (began, first) = *self.steps.front()?;
        let (ended, last) = *self.steps.back()?;
        #[allow(clippy::cast_precision_loss)]
        let (steps, units) = ((self.steps.len() - 1) as f64, last - first);
        if steps == 0.0 {
            return None;
        }
        let seen = (ended - began).as_secs_f64();
        // Once the next step is overdue, as if it came now and ended a gap like the others.
        let overdue = (self.active - began).as_secs_f64() * steps / (steps + 1.0);
        let seconds = seen.max(overdue);
        (seconds > 0.0).then(|| units / seconds)
    }

    /// Seconds until the counter reaches `total`, if it goes on like this.
    pub(in crate::run) fn eta(&self, total: f64) -> Option<f64> {
        let (_, done) = *self.steps.back()?;
        let left = total - done;
        if left <= 0.0 {
            return Some(0.0);
        }
        Some(left / self.per_second()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at `(second, done, paused)` one after the other.
    fn rate(first: u32, looks: &[(u64, u32, bool)]) -> Rate {
        let start = Instant::now();
        let mut rate = Rate::new(first.into(), start);
        for (second, done, paused) in looks {
            let now = start + Duration::from_secs(*second);
            rate.look((*done).into(), *paused, now);
        }
        rate
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let before = rate(500, &[(1, 500, false), (2, 500, false)]);
        assert_eq!(before.per_second(), None);
        assert_eq!(before.eta(1000.0), None);
        let after = rate(500, &[(10, 520, false)]);
        assert_eq!(after.per_second(), Some(2.0));
        assert_eq!(after.eta(620.0), Some(50.0));
        assert_eq!(after.eta(520.0), Some(0.0));
    }

    #[test]
    fn a_pause_does_not_lower_the_rate() {
        let paused = rate(0, &[(10, 20, false), (10, 20, true), (1000, 20, true)]);
        assert_eq!(paused.per_second(), Some(2.0));
        let resumed = rate(0, &[(10, 20, true), (1000, 20, false), (1010, 40, false)]);
        assert_eq!(resumed.per_second(), Some(2.0));
    }

    #[test]
    fn a_standstill_shows_and_a_gap_between_steps_does_not() {
        // Steps of 30 every 10 s.
        let steps = [(10, 30, false), (20, 60, false), (30, 90, false)];
        let waiting = rate(0, &[&steps[..], &[(39, 90, false)]].concat());
        assert_eq!(waiting.per_second(), Some(3.0));
        let stuck = rate(0, &[&steps[..], &[(400, 90, false)]].concat());
        assert_eq!(stuck.per_second(), Some(0.3));
    }

    #[test]
    fn old_steps_are_forgotten_and_a_step_back_begins_anew() {
        let mut looks: Vec<(u64, u32, bool)> =
            (1..=10).map(|i| (100 * u64::from(i), i, false)).collect();
        looks.extend((1..=70).map(|i| (1000 + u64::from(i), 10 + 5 * i, false)));
        assert_eq!(rate(0, &looks).per_second(), Some(5.0));
        let back = rate(0, &[(10, 50, false), (11, 40, false), (13, 48, false)]);
        assert_eq!(back.per_second(), Some(4.0));
        assert_eq!(back.eta(60.0), Some(3.0));
    }

    #[test]
    fn many_small_steps_are_taken_over_half_a_minute() {
        let start = Instant::now();
        let mut rate = Rate::new(0.0, start);
        // Ten reports a second: 2 a second for 40 s, then 4 a second for 4 s.
        let mut done = 0.0;
        for tenth in 1..=440_u32 {
            done += if tenth <= 400 { 0.2 } else { 0.4 };
            rate.look(done, false, start + Duration::from_millis(100) * tenth);
        }
        let found = rate.per_second().unwrap();
        assert!((2.1..2.5).contains(&found), "{found}");
    }
}
