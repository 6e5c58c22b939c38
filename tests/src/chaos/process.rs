//! One program of a drill: started with its output in a file, signalled, limited, started again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// How much of a log is shown.
const TAIL_BYTES: u64 = 3_000;

/// A program that may run now; killed when dropped.
#[derive(Debug)]
pub struct Process {
    log: PathBuf,
    child: Option<Child>,
    /// Started (again) at this moment, if it does not run.
    start_at: Option<Instant>,
    /// Stopped by SIGSTOP until then.
    wakes_at: Option<Instant>,
    /// Its files cannot grow until then.
    limited_until: Option<Instant>,
    starts: u64,
}

impl Process {
    /// A program that writes into `log` and is to be started at once.
    pub fn new(log: PathBuf) -> Self {
        Self {
            log,
            child: None,
            start_at: Some(Instant::now()),
            wakes_at: None,
            limited_until: None,
            starts: 0,
        }
    }

    /// How often it was started.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Has it started at this moment.
    pub fn start_at(&mut self, moment: Instant) {
        self.start_at = Some(moment);
    }

    /// Starts it if its time has come, wakes it, lifts its limit; returns how it ended if it has.
    pub fn look_after(
        &mut self,
        command: impl FnOnce(u64) -> Command,
    ) -> io::Result<Option<ExitStatus>> {
        let now = Instant::now();
        if self.wakes_at.is_some_and(|moment| now >= moment) {
            self.wake()?;
        }
        if self.limited_until.is_some_and(|moment| now >= moment) {
            self.lift_limit()?;
        }
        if let Some(child) = &mut self.child {
            let ended = child.try_wait()?;
            if ended.is_some() {
                self.forget();
            }
            return Ok(ended);
        }
        if self.start_at.is_some_and(|moment| now >= moment) {
            self.start_at = None;
            self.starts += 1;
            let output = File::options().create(true).append(true).open(&self.log)?;
            let child = command(self.starts)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::from(output))
                .spawn()?;
            self.child = Some(child);
        }
        Ok(None)
    }

    /// SIGKILL. False when it does not run.
    pub fn kill(&mut self) -> io::Result<bool> {
        let Some(mut child) = self.child.take() else {
            return Ok(false);
        };
        self.forget();
        child.kill()?;
        child.wait()?;
        Ok(true)
    }

    /// SIGTERM: it is asked to end.
    pub fn ask_to_end(&mut self) -> io::Result<()> {
        self.start_at = None;
        self.wake()?;
        self.signal(Signal::TERM).map(drop)
    }

    /// SIGSTOP until `moment`. False when it does not run.
    pub fn stop_until(&mut self, moment: Instant) -> io::Result<bool> {
        let stopped = self.signal(Signal::STOP)?;
        if stopped {
            self.wakes_at = Some(moment);
        }
        Ok(stopped)
    }

    /// Until `moment`, files that it writes cannot grow past so many bytes. False when it does not run.
    pub fn limit_files_until(&mut self, bytes: u64, moment: Instant) -> io::Result<bool> {
        let limited = self.limit_files(Some(bytes))?;
        if limited {
            self.limited_until = Some(moment);
        }
        Ok(limited)
    }

    fn wake(&mut self) -> io::Result<()> {
        self.wakes_at = None;
        self.signal(Signal::CONT).map(drop)
    }

    fn lift_limit(&mut self) -> io::Result<()> {
        self.limited_until = None;
        self.limit_files(None).map(drop)
    }

    /// `None` gives back what this process itself may do. The hard limit stays: to raise it again would need a privilege.
    fn limit_files(&self, bytes: Option<u64>) -> io::Result<bool> {
        let Some(pid) = self.pid() else {
            return Ok(false);
        };
        let own = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: bytes.or(own.current),
            maximum: own.maximum,
        };
        prlimit(Some(pid), Resource::Fsize, limit)?;
        Ok(true)
    }

    fn signal(&self, signal: Signal) -> io::Result<bool> {
        // A child that was not waited for keeps its number, so no other process is hit.
        let Some(pid) = self.pid() else {
            return Ok(false);
        };
        kill_process(pid, signal)?;
        Ok(true)
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(Pid::from_child)
    }

    fn forget(&mut self) {
        self.child = None;
        self.wakes_at = None;
        self.limited_until = None;
    }

    /// The end of its log, for people.
    pub fn tail(&self) -> String {
        format!("--- {}\n{}", self.log.display(), tail(&self.log))
    }

    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell.
        self.kill().ok();
    }
}

fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_else(|error| format!("({error})"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(120), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    const WRITER: &str = "trap '' XFSZ; while :; do echo 1 >>grows; sleep 0.005; done 2>/dev/null";

    #[test]
    fn stops_wakes_and_loses_its_disk_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::new(dir.path().join("log"));
        let look = |process: &mut Process| {
            let ended = process.look_after(|_| {
                let mut command = Command::new("bash");
                command.args(["-c", WRITER]).current_dir(dir.path());
                command
            });
            assert!(ended.unwrap().is_none());
        };
        let size = || std::fs::metadata(dir.path().join("grows")).map_or(0, |data| data.len());
        look(&mut process);
        wait_for("it writes", || size() > 0);

        let moment = Instant::now() + Duration::from_millis(200);
        assert!(process.limit_files_until(1, moment).unwrap());
        // A write may be under way.
        std::thread::sleep(Duration::from_millis(50));
        let limited = size();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(size(), limited);
        std::thread::sleep(Duration::from_millis(150));
        look(&mut process);
        wait_for("it writes again", || size() > limited);

        assert!(process.stop_until(Instant::now()).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let stopped = size();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(size(), stopped);
        look(&mut process);
        wait_for("it goes on", || size() > stopped);

        assert!(process.kill().unwrap());
        assert!(!process.kill().unwrap(), "it is dead already");
        assert_eq!(process.starts(), 1);
        look(&mut process);
        assert!(!process.runs(), "not before it is told to");
        process.start_at(Instant::now());
        look(&mut process);
        assert_eq!(process.starts(), 2);
        process.ask_to_end().unwrap();
        wait_for("it ends", || {
            process.look_after(|_| unreachable!()).unwrap().is_some()
        });
    }
}
