//! Starts the processes and adds up what they say.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::coordinator::Milestone;
use crate::running::Running;
use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};

/// What one driver took.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// `redis` or `local`.
    pub driver: &'static str,
    /// From the moment all workers are there to the last result accepted.
    pub shards_per_second: f64,
    /// To open the queue and submit all shards, seconds.
    pub submit_seconds: f64,
    /// Largest memory of the server, bytes; 0 where there is none.
    pub server_peak: u64,
    /// Resident memory of the coordinator before the first shard, bytes.
    pub coordinator_before: u64,
    /// The same with all shards submitted.
    pub coordinator_submitted: u64,
    /// The largest.
    pub coordinator_peak: u64,
    /// From the start of a coordinator after SIGKILL, all shards outstanding, to the first answer it gives, seconds.
    pub recovery_seconds: f64,
}

/// This program again, for one part of the measurement.
fn start(arguments: &[&str], output: Stdio) -> Running {
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("own path: {e}"));
    Running::start(
        Command::new(own)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output),
    )
}

/// A coordinator and what it says.
#[derive(Debug)]
struct Coordinator {
    process: Running,
    lines: Lines<BufReader<ChildStdout>>,
    started: Instant,
}

impl Coordinator {
    fn start(place: &[&str], shards: u64, workers: usize) -> Self {
        let started = Instant::now();
        let (shards, workers) = (shards.to_string(), workers.to_string());
        let numbers = ["coordinate", "--shards", &shards, "--workers", &workers];
        let arguments = [&numbers[..], place].concat();
        let mut process = start(&arguments, Stdio::piped());
        let output = process
            .0
            .stdout
            .take()
            .unwrap_or_else(|| panic!("no output"));
        Self {
            process,
            lines: BufReader::new(output).lines(),
            started,
        }
    }

    fn reaches(&mut self, name: &str) -> Milestone {
        let line = self
            .lines
            .next()
            .unwrap_or_else(|| panic!("the coordinator ended before '{name}'"))
            .unwrap_or_else(|e| panic!("the coordinator's output: {e}"));
        let milestone: Milestone =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(milestone.name, name);
        milestone
    }
}

fn start_workers(address: &str, workers: usize, more: &[&str]) -> Vec<Running> {
    (0..workers)
        .map(|number| {
            let name = format!("w-{number}");
            let arguments = [&["work", "--address", address, "--name", &name], more].concat();
            start(&arguments, Stdio::null())
        })
        .collect()
}

/// The argument by which a process is watched, where it is to be.
const fn watched(metrics: bool) -> &'static [&'static str] {
    if metrics { &["--metrics"] } else { &[] }
}

/// Through a Redis of its own.
pub fn redis(shards: u64, workers: usize, metrics: bool) -> Cost {
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let watched = watched(metrics);
    let place = [&["--redis", &url], watched].concat();
    let mut cost = throughput("redis", &place, watched, shards, workers);
    cost.server_peak = server.info("used_memory_peak");

    // Again, to be killed with everything outstanding and every worker at work.
    server.flushall();
    let mut coordinator = Coordinator::start(&place, shards, workers);
    coordinator.reaches("open");
    let address = coordinator.reaches("submitted").address;
    let holding = start_workers(&address, workers, &["--hold"]);
    coordinator.reaches("begun");
    std::thread::sleep(Duration::from_secs(1));
    coordinator.process.kill();
    let mut coordinator = Coordinator::start(&place, shards, workers);
    let opened = coordinator.reaches("open");
    assert_eq!(opened.inherited, shards, "shards left in the server");
    let there = coordinator.reaches("submitted");
    cost.recovery_seconds = coordinator.started.elapsed().as_secs_f64();
    assert_eq!(there.outstanding, shards, "shards after the restart");
    drop(holding);
    cost
}

/// Through the coordinator's own socket in `folder`. Nothing of the queue outlives the coordinator: a restarted one
/// submits everything again.
pub fn local(folder: &Path, shards: u64, workers: usize, metrics: bool) -> Cost {
    let folder = folder.to_string_lossy();
    let watched = watched(metrics);
    let place = [&["--local", &*folder], watched].concat();
    let mut cost = throughput("local", &place, watched, shards, workers);
    let mut coordinator = Coordinator::start(&place, shards, workers);
    coordinator.reaches("open");
    coordinator.reaches("submitted");
    coordinator.process.kill();
    let mut coordinator = Coordinator::start(&place, shards, workers);
    coordinator.reaches("open");
    let there = coordinator.reaches("submitted");
    cost.recovery_seconds = coordinator.started.elapsed().as_secs_f64();
    assert_eq!(there.outstanding, shards);
    cost
}

fn throughput(
    driver: &'static str,
    place: &[&str],
    watched: &[&str],
    shards: u64,
    workers: usize,
) -> Cost {
    let mut coordinator = Coordinator::start(place, shards, workers);
    let before = coordinator.reaches("open");
    let submitted = coordinator.reaches("submitted");
    let mut workers = start_workers(&submitted.address, workers, watched);
    let begun = coordinator.reaches("begun");
    let done = coordinator.reaches("done");
    for worker in &mut workers {
        let ended = worker.ends();
        assert!(ended.success(), "a worker ended with {ended}");
    }
    #[allow(clippy::cast_precision_loss)]
    let shards_per_second = shards as f64 / (done.seconds - begun.seconds);
    Cost {
        driver,
        shards_per_second,
        submit_seconds: submitted.seconds,
        server_peak: 0,
        coordinator_before: before.resident.0,
        coordinator_submitted: submitted.resident.0,
        coordinator_peak: done.resident.1,
        recovery_seconds: 0.0,
    }
}
