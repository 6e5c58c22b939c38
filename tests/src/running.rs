//! A process of a measurement: killed when dropped.

use std::process::{Child, Command, ExitStatus};

/// A process that is killed when dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self(child)
    }

    pub fn kill(&mut self) {
        // It may have ended by itself.
        if let Err(error) = self.0.kill() {
            eprintln!("{error}");
        }
        self.0.wait().unwrap_or_else(|e| panic!("wait: {e}"));
    }

    /// Waits for its end.
    pub fn ends(&mut self) -> ExitStatus {
        self.0.wait().unwrap_or_else(|e| panic!("wait: {e}"))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap_or_else(|e| panic!("wait: {e}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
