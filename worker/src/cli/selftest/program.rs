//! This program, started again: what is to be measured or killed has a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Last bytes of what a program has said that a message repeats.
const REPEATED: usize = 2000;

/// A program that is under way; it is killed when this goes.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts this program with `arguments`; what it says goes to files of `name` in `folder`.
    pub(super) fn start(folder: &Path, name: &str, arguments: &[String]) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own file")?;
        let [out, err] = ["out", "err"].map(|kind| folder.join(format!("{name}.{kind}")));
        let child = Command::new(own)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .context("this program cannot be started again")?;
        Ok(Self { child, out, err })
    }

    /// Its standard output so far.
    pub(super) fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.out)?).into_owned())
    }

    /// The end of its standard error.
    pub(super) fn errors(&self) -> String {
        let bytes = std::fs::read(&self.err).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let skipped = text.chars().count().saturating_sub(REPEATED);
        text.chars().skip(skipped).collect()
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, at most `limit`; `None` where it goes on.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if start.elapsed() >= limit {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its output when it has ended well.
    pub(super) fn done(mut self, limit: Duration) -> Result<String> {
        match self.wait(limit)? {
            Some(status) if status.success() => self.output(),
            Some(status) => bail!("{status}: {}", self.errors()),
            None => bail!("not done after {} s: {}", limit.as_secs(), self.errors()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        if !matches!(self.child.try_wait(), Ok(Some(_))) && self.kill().is_err() {
            tracing::warn!(id = self.child.id(), "a started program is left");
        }
    }
}
