//! What Prometheus never saw did not happen for it: a run that ends is read once more before its page goes.

use std::time::{Duration, Instant};

use super::RunMetrics;
use crate::run::operators::snapshot::RunOutcome;
use crate::run::signals::Interrupt;

/// Longest wait. Who reads more rarely has to be content with what it has.
const LONGEST: Duration = Duration::from_secs(60);
/// Beyond the usual pause between two looks: a reader is never on time to the second.
const LATE: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(50);

/// When the page was read.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: Option<Instant>,
    /// The longest between two, so that somebody who looks in between does not pass for the one who looks regularly.
    pause: Option<Duration>,
    /// The run has ended, and whether the page was read since.
    ended: Option<bool>,
}

impl Looks {
    pub(super) fn looked(&mut self, now: Instant) {
        let pause = self.last.map(|last| now.saturating_duration_since(last));
        self.pause = self.pause.max(pause);
        self.last = Some(now);
        if let Some(seen) = &mut self.ended {
            *seen = true;
        }
    }

    /// Until when the next look may be waited for; none where nobody reads regularly.
    fn expected(&self) -> Option<Instant> {
        let wait = (self.pause? + LATE).min(LONGEST);
        Some(self.last? + wait)
    }
}

impl RunMetrics {
    /// The run has ended so. Where the page is read regularly, this returns after it was read once more, a minute at most,
    /// so that the last numbers are those of the report. A run that is asked to stop does not wait.
    pub(in crate::run) fn end(&self, outcome: RunOutcome, interrupt: &Interrupt) {
        let name = match outcome {
            RunOutcome::Finished => "finished",
            RunOutcome::Interrupted => "interrupted",
            RunOutcome::Cancelled => "cancelled",
            RunOutcome::Failed => "failed",
        };
        let expected = {
            let mut state = self.0.state();
            self.0.ended.with_label_values(&[name]).set(1.0);
            state.at_work = false;
            state.looks.ended = Some(false);
            state.looks.expected()
        };
        let Some(expected) = expected.filter(|_| outcome != RunOutcome::Interrupted) else {
            return;
        };
        if expected.saturating_duration_since(Instant::now()) > LATE + LATE {
            tracing::info!(
                "the run has ended; its last numbers are still to be read (Ctrl-C ends at once)"
            );
        }
        while Instant::now() < expected
            && !interrupt.asked()
            && self.0.state().looks.ended == Some(false)
        {
            std::thread::sleep(NAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_waited_for_as_long_as_looks_are_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut looks = Looks::default();
        assert_eq!(looks.expected(), None);
        looks.looked(at(0));
        assert_eq!(looks.expected(), None, "one look is no habit");
        looks.looked(at(15));
        assert_eq!(looks.expected(), Some(at(35)));
        looks.looked(at(16));
        assert_eq!(looks.expected(), Some(at(36)), "somebody else looked");
        looks.looked(at(615));
        assert_eq!(looks.expected(), Some(at(675)), "a minute at most");

        looks.ended = Some(false);
        looks.looked(at(630));
        assert_eq!(looks.ended, Some(true));
    }
}
