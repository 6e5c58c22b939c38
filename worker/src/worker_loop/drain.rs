//! Ending in good order: SIGTERM and Ctrl-C.
//!
//! After the first signal nothing new is begun; a shard at work has a limited time to finish, a training
//! stops at its next step with a checkpoint. The second signal hands back at once what is at work. The third
//! ends the process as it stands, for a device or a queue that answers nothing any more.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::shim::ending;

/// Exit code after the third signal.
const INTERRUPTED: u8 = 130;

/// Whether this worker should end, and how soon.
#[derive(Debug)]
pub struct Drain {
    /// What a shard at work may still take after the first signal.
    grace: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    signals: u32,
    since: Option<Instant>,
}

impl Drain {
    /// Not asked for yet.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Listens for signals from now on.
    pub fn listen(grace: Duration) -> io::Result<Arc<Self>> {
        let drain = Arc::new(Self::new(grace));
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let asked = Arc::clone(&drain);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    match asked.ask() {
                        1 => tracing::info!(
                            seconds = asked.grace.as_secs(),
                            "asked to end: nothing new is begun, what is at work may finish"
                        ),
                        2 => tracing::info!("asked again: what is at work is handed back"),
                        _ => ending::end(INTERRUPTED),
                    }
                }
            })?;
        Ok(drain)
    }

    /// One more signal; returns how many there were.
    pub fn ask(&self) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.signals = state.signals.saturating_add(1);
        state.since.get_or_insert_with(Instant::now);
        self.changed.notify_all();
        state.signals
    }

    /// True once the worker should end.
    pub fn asked(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .signals
            > 0
    }

    /// True once a shard at work should be handed back rather than finished.
    pub(super) fn grace_over(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.signals > 1
            || state
                .since
                .is_some_and(|since| since.elapsed() >= self.grace)
    }

    /// Waits, at most until the worker is asked to end.
    pub(super) fn wait(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.changed
                .wait_timeout_while(state, time, |state| state.signals == 0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_gives_time_the_second_none() {
        let drain = Drain::new(Duration::from_secs(3600));
        assert!(!drain.asked() && !drain.grace_over());
        assert_eq!(drain.ask(), 1);
        assert!(drain.asked() && !drain.grace_over());
        assert_eq!(drain.ask(), 2);
        assert!(drain.grace_over());
    }

    #[test]
    fn patience_ends() {
        let drain = Drain::new(Duration::ZERO);
        drain.ask();
        assert!(drain.grace_over());
    }

    #[test]
    fn a_signal_ends_a_wait() {
        let drain = Arc::new(Drain::new(Duration::ZERO));
        let waiting = {
            let drain = Arc::clone(&drain);
            std::thread::spawn(move || drain.wait(Duration::from_secs(3600)))
        };
        drain.ask();
        waiting.join().unwrap();
    }
}
