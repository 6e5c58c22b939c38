//! Starts the local workers, one a device, and replaces those that crash.

use anofpdm_common::store::location::Location;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anofpdm_common::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process};

/// A worker that lives shorter than this died at start-up.
const EARLY_DEATH: Duration = Duration::from_secs(10);

/// After this many early deaths in a row a device is given up.
const MAX_EARLY_DEATHS: u32 = 5;

/// Before a restart, after each early death.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: EARLY_DEATH,
};

/// Exit code of a worker whose device must not be used again: lost, or found to give wrong bits.
const DEVICE_IS_OUT: i32 = 3;

/// Exit code of a worker that cannot do what it was told: its device is not there, an option makes no sense.
const BAD_USAGE: i32 = 2;

/// How much of a dead worker's log is shown.
const LOG_TAIL_BYTES: u64 = 4_096;

#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The `anofpdm-worker` program.
    pub program: PathBuf,
    pub queue: String,
    pub data: Location,
    pub artifacts: PathBuf,
    pub checkpoints: PathBuf,
    pub logs: PathBuf,
    pub threads: u32,
    /// The only run to serve.
    pub run: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error(
        "cannot start {program}: {source}; build both programs with `make build`, or set ANOFPDM_WORKER"
    )]
    Start { program: PathBuf, source: io::Error },
    #[error("the worker on {device} does not start; its log, {log}:\n{tail}")]
    Refuses {
        device: String,
        log: PathBuf,
        tail: String,
    },
    #[error(
        "the worker on {device} died {MAX_EARLY_DEATHS} times within seconds of its start; the end of {log}:\n{tail}"
    )]
    KeepsDying {
        device: String,
        log: PathBuf,
        tail: String,
    },
    #[error("no device is left: each was lost, or gave wrong bits; the end of {log}:\n{tail}")]
    NoDevice { log: PathBuf, tail: String },
    #[error("{path}: {source}")]
    Log { path: PathBuf, source: io::Error },
}

/// The worker program: `ANOFPDM_WORKER`, else `anofpdm-worker` beside this program.
pub fn worker_program() -> PathBuf {
    if let Some(path) = std::env::var_os("ANOFPDM_WORKER") {
        return PathBuf::from(path);
    }
    std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join("anofpdm-worker")))
        .unwrap_or_else(|| PathBuf::from("anofpdm-worker"))
}

/// The local workers of a run, one a device.
#[derive(Debug)]
pub struct Supervisor {
    command: WorkerCommand,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    device: String,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    early_deaths: u32,
    /// Where what the worker at work writes begins in its log.
    log_start: u64,
    /// A worker on this device has lived for a while.
    proven: bool,
    /// Not started again before this.
    pause_until: Instant,
    /// Not started again at all.
    out: bool,
    /// A worker was here and has ended.
    ended: bool,
}

impl Supervisor {
    /// Starts a worker on each of `devices`.
    pub fn start(command: WorkerCommand, devices: &[String]) -> Result<Self, SupervisorError> {
        let now = Instant::now();
        let slots = devices
            .iter()
            .enumerate()
            .map(|(slot, device)| Slot {
                device: device.clone(),
                log: command.logs.join(format!("worker-{slot}.log")),
                child: None,
                started: now,
                early_deaths: 0,
                log_start: 0,
                proven: false,
                pause_until: now,
                out: false,
                ended: false,
            })
            .collect();
        let mut supervisor = Self { command, slots };
        supervisor.look_after()?;
        Ok(supervisor)
    }

    /// Replaces workers that died, and returns how many; called again and again while there is work.
    pub fn look_after(&mut self) -> Result<usize, SupervisorError> {
        let mut replaced = 0;
        for slot in &mut self.slots {
            if let Some(child) = &mut slot.child {
                match child.try_wait() {
                    Ok(None) => continue,
                    ended => slot.note_exit(&ended)?,
                }
            }
            if !slot.out && Instant::now() >= slot.pause_until {
                slot.log_start = fs::metadata(&slot.log).map_or(0, |log| log.len());
                slot.child = Some(start(&self.command, &slot.device, &slot.log)?);
                slot.started = Instant::now();
                replaced += usize::from(slot.ended);
                slot.ended = false;
            }
        }
        if let Some(last) = self.slots.last()
            && self.slots.iter().all(|slot| slot.out)
        {
            return Err(SupervisorError::NoDevice {
                log: last.log.clone(),
                tail: tail(&last.log, last.log_start),
            });
        }
        Ok(replaced)
    }

    pub const fn devices(&self) -> usize {
        self.slots.len()
    }

    /// Devices that a worker is on or will be started on again.
    pub fn usable_devices(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.out).count()
    }

    /// Asks the workers to end in good order (SIGTERM).
    pub fn ask_to_end(&mut self) {
        for child in self.slots.iter_mut().filter_map(|slot| slot.child.as_mut()) {
            if matches!(child.try_wait(), Ok(None))
                && let Err(error) = kill_process(Pid::from_child(child), Signal::TERM)
            {
                tracing::debug!(%error, "a worker cannot be asked to end");
            }
        }
    }

    /// Ends the worker of this process number at once, if it is one of these: it does not answer. The next
    /// [`look_after`](Self::look_after) replaces it.
    pub fn kill(&mut self, pid: u32) -> bool {
        let mut children = self.slots.iter_mut().filter_map(|slot| slot.child.as_mut());
        let Some(child) = children.find(|child| child.id() == pid) else {
            return false;
        };
        if matches!(child.try_wait(), Ok(Some(_))) {
            // It has ended by itself: another takes its place anyway.
            return false;
        }
        if let Err(error) = child.kill() {
            tracing::warn!(%error, pid, "a worker that does not answer cannot be ended");
        }
        true
    }

    /// True while a worker lives.
    pub fn any_alive(&mut self) -> bool {
        self.slots.iter_mut().any(|slot| {
            slot.child
                .as_mut()
                .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
        })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for child in self.slots.iter_mut().filter_map(|slot| slot.child.as_mut()) {
            if matches!(child.try_wait(), Ok(None))
                && let Err(error) = child.kill().and_then(|()| child.wait())
            {
                tracing::warn!(%error, "cannot end a worker");
            }
        }
    }
}

impl Slot {
    /// Notes how a worker ended and when to start the next one.
    fn note_exit(&mut self, ended: &io::Result<Option<ExitStatus>>) -> Result<(), SupervisorError> {
        self.child = None;
        self.ended = true;
        self.proven |= self.started.elapsed() >= EARLY_DEATH;
        let code = match ended {
            Ok(Some(status)) => status.code(),
            Ok(None) | Err(_) => None,
        };
        if code == Some(BAD_USAGE) && !self.proven {
            return Err(SupervisorError::Refuses {
                device: self.device.clone(),
                log: self.log.clone(),
                tail: tail(&self.log, self.log_start),
            });
        }
        // A device that was there and is not any more is as good as one that was lost.
        if matches!(code, Some(DEVICE_IS_OUT | BAD_USAGE)) {
            tracing::error!(device = self.device, log = %self.log.display(), "this device is not used any more");
            self.out = true;
            return Ok(());
        }
        self.early_deaths = if self.started.elapsed() < EARLY_DEATH && !was_killed(ended) {
            self.early_deaths + 1
        } else {
            0
        };
        if self.early_deaths >= MAX_EARLY_DEATHS {
            return Err(SupervisorError::KeepsDying {
                device: self.device.clone(),
                log: self.log.clone(),
                tail: tail(&self.log, self.log_start),
            });
        }
        let status = match ended {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => String::from("alive"),
            Err(error) => error.to_string(),
        };
        tracing::warn!(device = self.device, status, log = %self.log.display(), "worker died, starting another");
        self.pause_until = Instant::now() + BACKOFF.ceiling(self.early_deaths + 1);
        Ok(())
    }
}

/// True for SIGKILL: somebody else ended the worker, so nothing is wrong with its start.
/// (Should its shard be the cause, the shard's crash counter ends it.)
fn was_killed(ended: &io::Result<Option<ExitStatus>>) -> bool {
    const SIGKILL: i32 = 9;
    matches!(ended, Ok(Some(status)) if status.signal() == Some(SIGKILL))
}

fn start(command: &WorkerCommand, device: &str, log: &Path) -> Result<Child, SupervisorError> {
    let log_error = |source| SupervisorError::Log {
        path: log.to_path_buf(),
        source,
    };
    fs::create_dir_all(&command.logs).map_err(log_error)?;
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(log_error)?;
    let mut worker = Command::new(&command.program);
    worker
        .arg("run")
        .args(["--queue", &command.queue])
        .args(["--device", device])
        .arg("--data")
        .arg(match &command.data {
            Location::Local(path) => path.clone().into_os_string(),
            Location::Remote(url) => url.to_string().into(),
        })
        .arg("--artifacts")
        .arg(&command.artifacts)
        .arg("--checkpoints")
        .arg(&command.checkpoints)
        .args(["--threads", &command.threads.to_string()])
        .args(["--run", &command.run])
        // Waiting threads must not spin: with fewer free cores than threads it costs tens of times the work.
        .env("OMP_WAIT_POLICY", "PASSIVE")
        // The worker ends when this pipe closes, so that none outlives a killed coordinator.
        .arg("--exit-with-parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::from(output))
        .spawn()
        .map_err(|source| SupervisorError::Start {
            program: command.program.clone(),
            source,
        })
}

/// The last lines of a log, as far as they can be read; nothing from before `start`, which another worker said.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LOG_TAIL_BYTES).max(start);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_else(|error| format!("({error})"))
}
