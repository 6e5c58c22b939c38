//! A warning that is given once, not at every look.

use std::time::{Duration, Instant};

/// Decides when a state that is looked at again and again is worth a warning: once it has lasted for a while, and then
/// not again before another while.
#[derive(Debug)]
pub(super) struct WarnOnce {
    /// How long the state lasts before the first warning.
    patience: Duration,
    /// Time to the next warning; none for no other.
    again: Option<Duration>,
    since: Option<Instant>,
    warned: Option<Instant>,
}

impl WarnOnce {
    /// Warns at once, and no second time before [`reset`](Self::reset).
    pub(super) const fn at_once() -> Self {
        Self {
            patience: Duration::ZERO,
            again: None,
            since: None,
            warned: None,
        }
    }

    /// Warns when the state has lasted for `patience`, and then every `again`.
    pub(super) const fn after(patience: Duration, again: Duration) -> Self {
        Self {
            patience,
            again: Some(again),
            ..Self::at_once()
        }
    }

    /// The state holds now; true when that is to be said.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let passed = |from: Instant| now.saturating_duration_since(from);
        let due = match (self.warned, self.again) {
            (None, _) => passed(since) >= self.patience,
            (Some(_), None) => false,
            (Some(warned), Some(again)) => passed(warned) >= again,
        };
        if due {
            self.warned = Some(now);
        }
        due
    }

    /// The state is over.
    pub(super) const fn reset(&mut self) {
        self.since = None;
        self.warned = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_then_warns_and_repeats_itself_rarely() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut warning = WarnOnce::after(Duration::from_secs(10), Duration::from_secs(300));
        assert!(!warning.is_due(at(0)));
        assert!(warning.is_due(at(10)));
        assert!(!warning.is_due(at(200)));
        assert!(warning.is_due(at(310)));
        warning.reset();
        assert!(!warning.is_due(at(311)));

        let mut warning = WarnOnce::at_once();
        assert!(warning.is_due(at(0)));
        assert!(!warning.is_due(at(9_999)));
        warning.reset();
        assert!(warning.is_due(at(9_999)));
    }
}
