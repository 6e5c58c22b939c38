//! Signals: Ctrl-C and SIGTERM as a flag that the drive looks at; a file-size limit as an error of the write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

/// Exit code of an interrupted program.
pub const INTERRUPTED: u8 = 130;

/// The user pressed Ctrl-C, sent SIGTERM, or had set a limit of time that is over.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; run the same command again to go on")]
pub struct Interrupted;

/// Turns true at the first signal, or when the time is up; a second signal ends the process at once.
#[derive(Debug, Clone)]
pub struct Interrupt {
    signal: Arc<AtomicBool>,
    until: Option<Instant>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system grants no handler.
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
        self.signal.load(Ordering::Relaxed) || self.until.is_some_and(|end| Instant::now() >= end)
    }
}

/// Makes a write past the file-size limit fail; unhandled, the signal would kill the process in the middle of it.
///
/// # Errors
/// When the system grants no handler.
pub fn file_size_limit_as_error() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}
