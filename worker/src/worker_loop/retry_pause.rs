//! The pause after a failure that is this worker's own fault.

use std::time::Duration;

use anofpdm_common::backoff::Backoff;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// Doubles from one second to thirty; begins anew once something went well.
#[derive(Debug, Default)]
pub(super) struct RetryPause {
    failures: u32,
}

impl RetryPause {
    /// How long to wait after one more failure.
    pub(super) fn after_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        BACKOFF.ceiling(self.failures)
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_limit_and_begins_anew() {
        let mut pause = RetryPause::default();
        let seconds: Vec<u64> = (0..7).map(|_| pause.after_failure().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100 {
            assert!(pause.after_failure() <= BACKOFF.cap);
        }
        pause.reset();
        assert_eq!(pause.after_failure(), BACKOFF.base);
    }
}
