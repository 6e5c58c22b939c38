//! When the records of a stage are counted again.

use std::time::{Duration, Instant};

/// Not before this many times what the last count took: however many records there are and however fast results come,
/// counting takes a twentieth of the loop at most. A small run is counted after every result.
const PAUSE: u32 = 20;

/// Whether something came since the last count, and when the next one may be.
#[derive(Debug)]
pub(super) struct Recount {
    pub(super) wanted: bool,
    not_before: Instant,
}

impl Recount {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: false,
            not_before: now,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.wanted && now >= self.not_before
    }

    /// Counted, from `begun` to `now`.
    pub(super) fn counted(&mut self, begun: Instant, now: Instant) {
        let took: Duration = now.saturating_duration_since(begun);
        self.wanted = false;
        self.not_before = now + took * PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_count_is_followed_by_a_long_pause_and_what_came_meanwhile_is_counted() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut recount = Recount::new(start);
        assert!(!recount.is_due(at(0)), "nothing came");
        recount.wanted = true;
        assert!(recount.is_due(at(0)));
        recount.counted(at(0), at(30));
        assert!(!recount.is_due(at(700)), "nothing came");
        recount.wanted = true;
        assert!(!recount.is_due(at(629)));
        assert!(recount.is_due(at(630)));
    }
}
