//! Signals: Ctrl-C and SIGTERM as a flag that the run looks at; a file-size limit as an error of the write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM, SIGXFSZ};
use signal_hook::flag;

pub const INTERRUPTED: u8 = 130;

/// The program is to end in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    #[error("interrupted; run the same command again to go on")]
    Signal,
    #[error("the time of --max-hours is over; run the same command again to go on")]
    TimeIsUp,
}

/// Turns true at the first signal, or when the time is up; a second signal ends the process at once.
#[derive(Debug, Clone)]
pub struct Interrupt {
    signal: Arc<AtomicBool>,
    until: Option<Instant>,
}

impl Interrupt {
    pub fn listen() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag false and sets it, the second finds it true.
            let code = i32::from(INTERRUPTED);
            flag::register_conditional_shutdown(signal, code, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
        }
        file_size_limit_as_error()?;
        Ok(Self {
            signal: asked,
            until: None,
        })
    }

    /// The same, and as if a signal came after `limit` from now.
    #[must_use]
    pub fn within(self, limit: Option<Duration>) -> Self {
        Self {
            until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            ..self
        }
    }

    /// True once a signal came or the time is up.
    pub fn asked(&self) -> bool {
        self.check().is_err()
    }

    /// The same, with what it was.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.signal.load(Ordering::Relaxed) {
            Err(Interrupted::Signal)
        } else if self.until.is_some_and(|end| Instant::now() >= end) {
            Err(Interrupted::TimeIsUp)
        } else {
            Ok(())
        }
    }
}

/// Exit code of a program whose reader has gone: that of a shell for SIGPIPE.
const NOBODY_READS: i32 = 141;

/// Ends the process, without a word, when what it prints is read no more (`anofpdm status demo | head -1`). For commands
/// that have nothing to do but to print; a run goes on without readers. Sockets raise no such signal.
pub fn end_when_nobody_reads() -> io::Result<()> {
    flag::register_conditional_shutdown(SIGPIPE, NOBODY_READS, Arc::new(AtomicBool::new(true)))?;
    Ok(())
}

/// Makes a write past the file-size limit fail; unhandled, the signal would kill the process in the middle of it.
pub fn file_size_limit_as_error() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_up_is_no_signal() {
        let listening = Interrupt {
            signal: Arc::default(),
            until: None,
        };
        let long = listening.clone().within(Some(Duration::from_secs(3_600)));
        assert!(!long.asked());
        let over = listening.within(Some(Duration::ZERO));
        assert_eq!(over.check(), Err(Interrupted::TimeIsUp));
        // Of two reasons the user's is the one that is told.
        over.signal.store(true, Ordering::Relaxed);
        assert_eq!(over.check(), Err(Interrupted::Signal));
        assert!(over.asked());
    }
}
