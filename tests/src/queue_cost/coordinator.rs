//! A coordinator that accepts whatever comes, and says on standard output how far it is and what it took.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anofpdm_common::plan::WorkerInfo;
use anofpdm_common::queue::local::LocalDispatcher;
use anofpdm_common::queue::redis::RedisDispatcher;
use anofpdm_common::queue::{
    Claim, Dispatch, Event, LeaseConfig, QueueError, QueueHandler, Submission, Verdict,
};
use serde::{Deserialize, Serialize};

use super::{RUN, job};
use crate::process_usage;

/// As the real coordinator serves.
const BEAT: Duration = Duration::from_millis(200);

/// Workers that ask in this time are told that the run is finished.
const FAREWELL: Duration = Duration::from_secs(20);

/// One line of the output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Milestone {
    /// `open`, `submitted`, `begun` (every worker is there), `done`.
    pub name: String,
    pub address: String,
    /// Since this process began its work.
    pub seconds: f64,
    /// Resident memory now and at most, bytes.
    pub resident: (u64, u64),
    /// Shards that need a worker.
    pub outstanding: u64,
    /// Shards an earlier coordinator left.
    pub inherited: u64,
}

/// Where the queue is.
#[derive(Debug)]
pub enum Place<'a> {
    Redis(&'a str),
    /// A folder for the socket.
    Local(&'a Path),
}

/// Takes what comes, and counts who is there.
#[derive(Debug, Default)]
struct Everything {
    joined: usize,
    left: usize,
}

impl QueueHandler for Everything {
    fn admit(&mut self, _worker: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }

    fn commit(&mut self, _claim: Claim<'_>) -> Verdict {
        Verdict::Accept
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::WorkerJoined(_) => self.joined += 1,
            Event::WorkerLeft(_) => self.left += 1,
            _ => {}
        }
    }
}

/// Opens the queue, submits `shards`, waits for `workers`, and serves until all is done.
pub fn coordinate(place: &Place<'_>, shards: u64, workers: usize) -> Result<(), QueueError> {
    let begin = Instant::now();
    // Leases end with their workers' processes here, not by themselves.
    let config = LeaseConfig {
        ttl: Duration::from_secs(600),
        ..LeaseConfig::default()
    };
    let (mut queue, address): (Box<dyn Dispatch>, String) = match place {
        Place::Redis(url) => {
            let queue = RedisDispatcher::open(url, RUN, config)?;
            let address = queue.address();
            (Box::new(queue), address)
        }
        Place::Local(folder) => {
            let queue = LocalDispatcher::listen(folder, config)?;
            let address = queue.address();
            (Box::new(queue), address)
        }
    };
    let inherited = queue.inherited()?.len() as u64;
    let say = |name: &str, queue: &dyn Dispatch| -> Result<(), QueueError> {
        let usage = process_usage::own();
        let milestone = Milestone {
            name: name.to_owned(),
            address: address.clone(),
            seconds: begin.elapsed().as_secs_f64(),
            resident: (usage.resident, usage.peak),
            outstanding: queue.counts()?.outstanding(),
            inherited,
        };
        let line = serde_json::json!(milestone);
        writeln!(std::io::stdout(), "{line}")
            .map_err(|error| QueueError::Gone(format!("standard output: {error}")))
    };
    say("open", queue.as_ref())?;
    queue.submit(
        (0..shards)
            .map(|shard| Submission::new(shard, job(shard)))
            .collect(),
    )?;
    queue.finish()?;
    queue.set_paused(true)?;
    let mut handler = Everything::default();
    queue.serve(&mut handler, Duration::from_millis(1))?;
    say("submitted", queue.as_ref())?;
    while handler.joined < workers {
        queue.serve(&mut handler, BEAT)?;
    }
    queue.set_paused(false)?;
    say("begun", queue.as_ref())?;
    while queue.counts()?.outstanding() > 0 {
        queue.serve(&mut handler, BEAT)?;
    }
    say("done", queue.as_ref())?;
    let until = Instant::now() + FAREWELL;
    while handler.left < workers && Instant::now() < until {
        queue.serve(&mut handler, BEAT)?;
    }
    // The last of them may still wait for its answer.
    queue.serve(&mut handler, BEAT)
}
