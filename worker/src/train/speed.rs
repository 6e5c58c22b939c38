//! How fast training is.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps over which the speed is averaged.
const SPEED_WINDOW: usize = 50;

/// Durations of the last steps of this process.
#[derive(Debug, Default)]
pub(super) struct Speed {
    durations: VecDeque<Duration>,
}

impl Speed {
    pub(super) fn push(&mut self, duration: Duration) {
        if self.durations.len() == SPEED_WINDOW {
            self.durations.pop_front();
        }
        self.durations.push_back(duration);
    }

    pub(super) fn images_per_second(&self, batch: usize) -> f64 {
        let seconds: f64 = self.durations.iter().map(Duration::as_secs_f64).sum();
        #[allow(clippy::cast_precision_loss)] // small counts
        let images = (self.durations.len() * batch) as f64;
        if seconds > 0.0 { images / seconds } else { 0.0 }
    }
}
