//! The programs of a drill: a Redis, a proxy before it, a coordinator, workers; and what is done to them.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::fixture::{DrillFixture, SPEC_FILE};
use super::process::Process;
use super::proxy::{Proxy, Weather};
use super::schedule::{Fault, Kind};
use super::tally::Faults;
use crate::fake;
use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};

/// Lease of a drill's shards: short, so that silence is noticed within the drill.
pub const LEASE: Duration = Duration::from_secs(2);

/// A worker that ended is replaced after this long.
const REPLACE: Duration = Duration::from_millis(300);

/// A worker that is asked to end has this long.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Exit code of bad usage: to start the same again is in vain.
const USAGE: i32 = 2;

/// How often a run that ended with an error is run again.
const MAX_RUNS_AGAIN: u64 = 8;

/// Why a drill cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A process could not be started or signalled.
    #[error("{0}")]
    Process(#[from] io::Error),
    /// A worker ended with a code that another start will not change.
    #[error("worker {number} ended with {status}")]
    Worker { number: usize, status: String },
    /// The command failed again and again.
    #[error("`anofpdm run` ended with an error {0} times, last with {1}")]
    GivesUp(u64, String),
    /// A worker did not end when asked to.
    #[error("worker {0} did not end within {DRAIN_LIMIT:?} of SIGTERM")]
    Stubborn(usize),
    /// A worker ended in disorder when asked to end.
    #[error("worker {0} was asked to end and ended with {1}")]
    Disorder(usize, String),
}

/// The programs of one drill; all are killed when it is dropped.
#[derive(Debug)]
pub struct Fleet<'a> {
    fixture: &'a DrillFixture,
    kind: Kind,
    run: String,
    redis: RedisServer,
    redis_back_at: Option<Instant>,
    proxy: Option<Proxy>,
    coordinator: Process,
    workers: Vec<Process>,
    pub faults: Faults,
    /// Starts of the command after an error.
    pub run_again: u64,
    /// Workers that ended by themselves.
    pub workers_died: u64,
}

impl<'a> Fleet<'a> {
    /// Starts Redis; the others start with the first [`Fleet::look_after`].
    pub fn new(
        fixture: &'a DrillFixture,
        kind: Kind,
        seed: u64,
        run: &str,
        workers: usize,
    ) -> io::Result<Self> {
        let redis = RedisServer::start(RedisOptions::default());
        let proxy = matches!(kind, Kind::Network | Kind::Mixed)
            .then(|| Proxy::start(redis.port(), seed))
            .transpose()?;
        let logs = fixture.path().join(format!("{run}-logs"));
        std::fs::create_dir_all(&logs)?;
        let process = |name: String| Process::new(logs.join(format!("{name}.log")));
        Ok(Self {
            fixture,
            kind,
            run: run.to_owned(),
            redis,
            redis_back_at: None,
            proxy,
            coordinator: process("coordinator".to_owned()),
            workers: (0..workers)
                .map(|number| process(format!("worker-{number}")))
                .collect(),
            faults: Faults::new(),
            run_again: 0,
            workers_died: 0,
        })
    }

    fn url(&self) -> String {
        match &self.proxy {
            Some(proxy) => self.redis.url_through(proxy.port()),
            None => self.redis.url(),
        }
    }

    /// Starts what has to be started, replaces what died. True when the command has ended well.
    pub fn look_after(&mut self) -> Result<bool, FleetError> {
        if self
            .redis_back_at
            .is_some_and(|moment| Instant::now() >= moment)
        {
            self.redis_back_at = None;
            self.redis.restart();
        }
        self.look_after_workers()?;
        let url = self.url();
        let lease = LEASE.as_secs().to_string();
        let ended = self.coordinator.look_after(|_| {
            let where_to = ["--queue", &url, "--dir", &self.run, "--lease", &lease];
            self.fixture
                .command("anofpdm", &[&["run", SPEC_FILE][..], &where_to].concat())
        })?;
        match ended {
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                self.run_again += 1;
                if status.code() == Some(USAGE) || self.run_again > MAX_RUNS_AGAIN {
                    return Err(FleetError::GivesUp(self.run_again, status.to_string()));
                }
                self.coordinator.start_at(Instant::now() + REPLACE);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn look_after_workers(&mut self) -> Result<(), FleetError> {
        let url = self.url();
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let faults = self.kind.device_faults();
            let ended = worker.look_after(|_| {
                let (name, value) = self.fixture.device(faults);
                let arguments = ["run", "--queue", &url];
                let mut command = self.fixture.command(fake::PROGRAM, &arguments);
                command.env(name, value);
                command
            })?;
            if let Some(status) = ended {
                if status.code() == Some(USAGE) {
                    let status = status.to_string();
                    return Err(FleetError::Worker { number, status });
                }
                self.workers_died += 1;
                worker.start_at(Instant::now() + REPLACE);
            }
        }
        Ok(())
    }

    /// Does something bad. What it hits may not be there at the moment; then nothing is counted.
    pub fn inject(&mut self, fault: &Fault) -> io::Result<()> {
        let now = Instant::now();
        let count = match fault {
            Fault::KillWorkers(numbers) => {
                let mut killed = 0;
                for number in numbers {
                    if let Some(worker) = self.workers.get_mut(*number)
                        && worker.kill()?
                    {
                        worker.start_at(now + REPLACE);
                        killed += 1;
                    }
                }
                killed
            }
            Fault::Stall(number, duration) => {
                let worker = self.workers.get_mut(*number);
                u64::from(worker.map_or(Ok(false), |worker| worker.stop_until(now + *duration))?)
            }
            Fault::KillRedis(down) => {
                self.redis.kill();
                self.redis_back_at = Some(now + *down);
                1
            }
            // A dead server can forget nothing.
            Fault::Flushall if self.redis_back_at.is_some() => 0,
            Fault::Flushall => {
                self.redis.flushall();
                1
            }
            Fault::Cut => self.weather(|proxy| proxy.cut()),
            Fault::Weather(weather, duration) => {
                self.weather(|proxy| proxy.set(*weather, *duration))
            }
            Fault::WorkerDiskFull(number, bytes, duration) => {
                let worker = self.workers.get_mut(*number);
                let moment = now + *duration;
                u64::from(
                    worker.map_or(Ok(false), |worker| worker.limit_files_until(*bytes, moment))?,
                )
            }
            Fault::CoordinatorDiskFull(bytes, duration) => u64::from(
                self.coordinator
                    .limit_files_until(*bytes, now + *duration)?,
            ),
            Fault::KillCoordinator(down) => {
                let killed = self.coordinator.kill()?;
                if killed {
                    self.coordinator.start_at(now + *down);
                }
                u64::from(killed)
            }
        };
        if count > 0 {
            *self.faults.entry(fault.name()).or_default() += count;
        }
        Ok(())
    }

    /// Counts what the fake workers did by themselves: they say so in the workers' logs.
    pub fn count_device_faults(&mut self) -> io::Result<()> {
        const SAID: [(&str, &str); 4] = [
            ("device error", "an error injected by"),
            ("device out of memory", "CUDA out of memory"),
            ("device lost", "unspecified launch failure"),
            ("device crash", "crash injected by"),
        ];
        for worker in &self.workers {
            let log = match std::fs::read_to_string(worker.log()) {
                Ok(log) => log,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // One line of level ERROR for each; others repeat it.
            for line in log.lines().filter(|line| line.contains(" ERROR ")) {
                if let Some((name, _)) = SAID.iter().find(|(_, text)| line.contains(text)) {
                    *self.faults.entry(name).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn weather(&self, change: impl FnOnce(&Proxy)) -> u64 {
        self.proxy.as_ref().map_or(0, |proxy| {
            change(proxy);
            1
        })
    }

    /// Ends the workers as an operator would and waits for them. Those that were going down anyway do not count.
    pub fn drain(&mut self) -> Result<(), FleetError> {
        if self.redis_back_at.take().is_some() {
            self.redis.restart();
        }
        if let Some(proxy) = &self.proxy {
            proxy.set(Weather::Fair, Duration::ZERO);
        }
        for worker in &mut self.workers {
            worker.ask_to_end()?;
        }
        let deadline = Instant::now() + DRAIN_LIMIT;
        for (number, worker) in self.workers.iter_mut().enumerate() {
            while worker.runs() {
                let never = |_| std::process::Command::new("false");
                if let Some(status) = worker.look_after(never)?
                    && !status.success()
                {
                    return Err(FleetError::Disorder(number, status.to_string()));
                }
                if Instant::now() > deadline {
                    return Err(FleetError::Stubborn(number));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// The ends of all logs, for people.
    pub fn tails(&self) -> String {
        std::iter::once(&self.coordinator)
            .chain(&self.workers)
            .map(Process::tail)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The folders this drill left.
    pub fn folders(&self) -> [PathBuf; 2] {
        let path = self.fixture.path();
        [
            path.join(&self.run),
            path.join(format!("{}-logs", self.run)),
        ]
    }
}
