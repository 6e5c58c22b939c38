//! The coordinator's end: submits shards, has claims verified, and puts back what the server has lost.

mod event_loop;

use std::cell::RefCell;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult};

use super::connection::{CallError, Link};
use super::endpoint::RedisEndpoint;
use super::keys::{Keys, RUNS};
use super::reading;
use super::{scripts, server};
use crate::backoff::{JITTER_PER_ERROR, JITTER_PER_SHARD};
use crate::plan::{Job, WorkerInfo};
use crate::queue::dispatch::{Dispatch, QueueHandler, Submission, WorkerStatus};
use crate::queue::error::QueueError;
use crate::queue::lease::{Counts, DeadLetter, LeaseConfig, MAX_AVOIDED, TICKS_PER_LEASE};

/// Shards a submitting call carries.
const SUBMIT_CHUNK: usize = 500;

/// What the coordinator remembers of a shard.
#[derive(Debug)]
enum KnownShard {
    /// To be done; the job is kept to be submitted again.
    Open(Submission),
    /// Cancelled as soon as its worker lets go.
    Leaving,
    Cancelled,
    Done,
}

/// The queue of one run in a Redis server.
#[derive(Debug)]
pub struct RedisDispatcher {
    endpoint: RedisEndpoint,
    keys: Keys,
    config: LeaseConfig,
    /// Written into the server: when it is not there any more, the server has lost the run.
    incarnation: String,
    link: RefCell<Link>,
    /// For blocking reads.
    waiting: Link,
    shards: BTreeMap<u64, KnownShard>,
    inherited: Vec<(u64, Job)>,
    done: u64,
    counts: Counts,
    paused: bool,
    draining: bool,
    finishing: bool,
    /// The connection under which the server was last compared with `shards`.
    compared: u64,
    away: Option<Instant>,
    /// What workers said of themselves, for their departure.
    workers: HashMap<String, WorkerInfo>,
    /// Events told, but perhaps still in the server.
    told: HashSet<String>,
}

impl RedisDispatcher {
    /// Opens the run in the server at `url`, or takes it over where an earlier coordinator left it.
    ///
    /// # Errors
    /// [`QueueError::Address`] and [`QueueError::Settings`] for an unusable address; [`QueueError::Denied`] without
    /// the coordinator's rights; [`QueueError::Redis`] when the server is away, too old, or would evict keys.
    pub fn open(url: &str, run: &str, config: LeaseConfig) -> Result<Self, QueueError> {
        Self::open_at(RedisEndpoint::from_url(url)?, run, config)
    }

    /// As [`Self::open`], at an endpoint with credentials of its own.
    pub fn open_at(
        endpoint: RedisEndpoint,
        run: &str,
        config: LeaseConfig,
    ) -> Result<Self, QueueError> {
        let mut dispatcher = Self {
            keys: Keys::of(run),
            config,
            incarnation: String::new(),
            link: RefCell::new(Link::new(endpoint.clone())),
            waiting: Link::new(endpoint.clone()),
            shards: BTreeMap::new(),
            inherited: Vec::new(),
            done: 0,
            counts: Counts::default(),
            paused: false,
            draining: false,
            finishing: false,
            compared: 0,
            away: None,
            workers: HashMap::new(),
            told: HashSet::new(),
            endpoint,
        };
        dispatcher
            .begin()
            .map_err(|error| error.into_queue_error(&dispatcher.endpoint))?;
        Ok(dispatcher)
    }

    /// What workers connect to (`--queue`).
    pub fn address(&self) -> String {
        self.endpoint.to_string()
    }

    fn begin(&mut self) -> Result<(), CallError> {
        let info: String = self.call(|connection| redis::cmd("INFO").query(connection))?;
        server::check(&self.endpoint, &info).map_err(CallError::Fatal)?;
        let (known, jobs, avoided) = self.call(|connection| {
            redis::pipe()
                .hget(self.keys.named("meta"), "incarnation")
                .hgetall(self.keys.named("job"))
                .hgetall(self.keys.named("avoid"))
                .query::<(Option<String>, HashMap<u64, Vec<u8>>, HashMap<u64, String>)>(connection)
        })?;
        let fresh = crate::instance::nonce();
        self.incarnation = known.unwrap_or(fresh);
        for (shard, stored) in jobs {
            let avoid = avoided.get(&shard).map(String::as_str);
            match reading::submission(shard, &stored, avoid) {
                Ok(submission) => {
                    self.inherited.push((shard, submission.job.clone()));
                    self.shards.insert(shard, KnownShard::Open(submission));
                }
                Err(error) => {
                    tracing::warn!(shard, %error, "a job of an earlier coordinator is dropped");
                    self.shards.insert(shard, KnownShard::Cancelled);
                }
            }
        }
        self.inherited.sort_unstable_by_key(|(shard, _)| *shard);
        self.recover()
    }

    fn call<T>(
        &self,
        command: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, CallError> {
        let mut link = self.link.borrow_mut();
        link.call_about(Some(&self.keys), Duration::ZERO, command)
    }

    fn run_script<T: redis::FromRedisValue>(
        &self,
        transition: &scripts::Transition,
        arguments: &[&[u8]],
    ) -> Result<T, CallError> {
        self.link
            .borrow_mut()
            .run_script(transition, &self.keys, arguments)
    }

    /// Makes the server agree with what this coordinator knows: after a start, after every new connection, and
    /// when the server has lost the run.
    fn recover(&mut self) -> Result<(), CallError> {
        self.call(|connection| {
            let mut load = redis::pipe();
            for transition in scripts::all() {
                load.load_script(transition.script()).ignore();
            }
            load.query::<()>(connection)
        })?;
        let config = &self.config;
        let numbers = [
            ("ttl", millis(config.ttl)),
            ("max_errors", config.max_errors.to_string()),
            ("max_crashes", config.max_crashes.to_string()),
            ("backoff_base", millis(config.backoff.base)),
            ("backoff_cap", millis(config.backoff.cap)),
            ("jitter_per_shard", JITTER_PER_SHARD.to_string()),
            ("jitter_per_error", JITTER_PER_ERROR.to_string()),
            ("ticks_per_lease", TICKS_PER_LEASE.to_string()),
            ("max_avoided", MAX_AVOIDED.to_string()),
        ];
        let mut arguments = vec![self.incarnation.as_bytes()];
        for (name, number) in &numbers {
            arguments.extend([name.as_bytes(), number.as_bytes()]);
        }
        let _: i64 = self.run_script(&scripts::OPEN, &arguments)?;
        for (field, set) in [
            ("paused", self.paused),
            ("draining", self.draining),
            ("finishing", self.finishing),
        ] {
            if set {
                let _: i64 = self.run_script(&scripts::SET_FLAG, &[field.as_bytes(), b"1"])?;
            }
        }
        let there: BTreeSet<u64> = self.call(|connection| {
            redis::pipe()
                .sadd(RUNS, self.keys.run())
                .ignore()
                .hkeys(self.keys.named("job"))
                .query::<(Vec<u64>,)>(connection)
                .map(|(shards,)| shards.into_iter().collect())
        })?;
        let missing: Vec<&Submission> = self
            .shards
            .iter()
            .filter(|(shard, _)| !there.contains(shard))
            .filter_map(|(_, known)| match known {
                KnownShard::Open(submission) => Some(submission),
                _ => None,
            })
            .collect();
        if !missing.is_empty() && self.compared > 0 {
            tracing::warn!(
                shards = missing.len(),
                "the server had lost shards; they are submitted again"
            );
        }
        self.push(&missing)?;
        for shard in there {
            if !matches!(self.shards.get(&shard), Some(KnownShard::Open(_))) {
                let _: i64 = self.run_script(&scripts::CANCEL, &[shard.to_string().as_bytes()])?;
            }
        }
        self.compared = self.link.borrow().generation();
        self.refresh().map(drop)
    }

    fn push(&self, submissions: &[&Submission]) -> Result<(), CallError> {
        for chunk in submissions.chunks(SUBMIT_CHUNK) {
            let mut arguments: Vec<Vec<u8>> = Vec::with_capacity(3 * chunk.len());
            for submission in chunk {
                let stored =
                    reading::stored(submission).map_err(|error| CallError::Fatal(error.into()))?;
                arguments.push(submission.shard.to_string().into_bytes());
                arguments.push(stored);
                arguments.push(reading::avoided(&submission.avoid).into_bytes());
            }
            let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let _: i64 = self.run_script(&scripts::SUBMIT, &arguments)?;
        }
        Ok(())
    }

    /// Passes time in the server and takes its counts. Returns the workers that have fallen silent; none with
    /// the answer when the server has lost the run.
    fn refresh(&mut self) -> Result<Option<Vec<String>>, CallError> {
        let answer: Vec<redis::Value> = self.run_script(&scripts::POLL, &[])?;
        let Some((numbers, silent)) = reading::poll(&answer, &self.incarnation) else {
            return Ok(None);
        };
        let [known, leased, claimed, retrying, dead] = numbers;
        let leased = leased + claimed;
        let total = self.shards.len() as u64;
        self.counts = Counts {
            queued: known.saturating_sub(leased + retrying + dead),
            leased,
            retrying,
            done: self.done,
            dead,
            cancelled: total.saturating_sub(self.done + known),
        };
        Ok(Some(silent))
    }

    /// Waits for a server that is away; anything worse is an error.
    fn wait_out(&mut self, failure: CallError, wait: Duration) -> Result<(), QueueError> {
        let CallError::Away(why) = failure else {
            return Err(failure.into_queue_error(&self.endpoint));
        };
        if self.away.is_none() {
            self.away = Some(Instant::now());
            tracing::warn!(queue = %self.endpoint, %why, "the queue is away; the run goes on when it is back");
        }
        std::thread::sleep(wait.min(self.link.borrow().pause()));
        Ok(())
    }

    fn set_flag(&mut self, field: &str, set: bool) -> Result<(), QueueError> {
        let value: &[u8] = if set { b"1" } else { b"0" };
        let done: Result<i64, CallError> =
            self.run_script(&scripts::SET_FLAG, &[field.as_bytes(), value]);
        self.or_at_recovery(done.map(drop))
    }

    /// What could not be told to a server that is away is told by [`Self::recover`].
    fn or_at_recovery(&mut self, done: Result<(), CallError>) -> Result<(), QueueError> {
        match done {
            Ok(()) => Ok(()),
            Err(CallError::Fatal(error)) => Err(error),
            Err(CallError::Away(_) | CallError::NoScript) => {
                self.compared = 0;
                Ok(())
            }
        }
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

impl Dispatch for RedisDispatcher {
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError> {
        let mut new = Vec::new();
        for submission in shards {
            if let Slot::Vacant(vacant) = self.shards.entry(submission.shard) {
                vacant.insert(KnownShard::Open(submission.clone()));
                new.push(submission);
            }
        }
        let added = new.len() as u64;
        let pushed = self.push(&new.iter().collect::<Vec<_>>());
        // Until the server has been asked, so that nobody takes the run for finished.
        self.counts.queued += added;
        let pushed = pushed.and_then(|()| self.refresh().map(drop));
        self.or_at_recovery(pushed)?;
        Ok(added)
    }

    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError> {
        Ok(std::mem::take(&mut self.inherited))
    }

    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError> {
        let arguments = [worker.as_bytes(), reason.as_bytes()];
        let retired: Result<i64, CallError> = self.run_script(&scripts::RETIRE, &arguments);
        retired
            .map(drop)
            .map_err(|error| error.into_queue_error(&self.endpoint))
    }

    fn close(&mut self) -> Result<(), QueueError> {
        self.call(|connection| {
            redis::pipe()
                .srem(RUNS, self.keys.run())
                .ignore()
                .cmd("UNLINK")
                .arg(self.keys.all())
                .ignore()
                .query::<()>(connection)
        })
        .map_err(|error| error.into_queue_error(&self.endpoint))
    }

    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError> {
        match self.shards.get(&shard) {
            None | Some(KnownShard::Done) => return Ok(false),
            Some(KnownShard::Leaving | KnownShard::Cancelled) => return Ok(true),
            Some(KnownShard::Open(_)) => {}
        }
        let answer: i64 = self
            .run_script(&scripts::CANCEL, &[shard.to_string().as_bytes()])
            .map_err(|error| error.into_queue_error(&self.endpoint))?;
        let known = match answer {
            1 => KnownShard::Leaving,
            2 => KnownShard::Cancelled,
            _ => return Ok(false),
        };
        self.shards.insert(shard, known);
        let refreshed = self.refresh().map(drop);
        self.or_at_recovery(refreshed)?;
        Ok(true)
    }

    fn expire(&mut self, shard: u64) -> Result<bool, QueueError> {
        let expired: i64 = self
            .run_script(&scripts::EXPIRE, &[shard.to_string().as_bytes()])
            .map_err(|error| error.into_queue_error(&self.endpoint))?;
        Ok(expired == 1)
    }

    fn revive(&mut self, shard: u64) -> Result<bool, QueueError> {
        let revived: i64 = self
            .run_script(&scripts::REVIVE, &[shard.to_string().as_bytes()])
            .map_err(|error| error.into_queue_error(&self.endpoint))?;
        let refreshed = self.refresh().map(drop);
        self.or_at_recovery(refreshed)?;
        Ok(revived == 1)
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError> {
        self.paused = paused;
        self.set_flag("paused", paused)
    }

    fn finish(&mut self) -> Result<(), QueueError> {
        self.finishing = true;
        self.set_flag("finishing", true)
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        self.draining = true;
        self.set_flag("draining", true)
    }

    /// While the server is away this waits for it, at most `wait` at a time.
    fn serve(&mut self, handler: &mut dyn QueueHandler, wait: Duration) -> Result<(), QueueError> {
        match self.serve_once(handler, wait) {
            Ok(()) => {
                if let Some(since) = self.away.take() {
                    tracing::info!(seconds = since.elapsed().as_secs(), "the queue is back");
                }
                Ok(())
            }
            // The scripts are gone with a restart of the server: the next turn loads them.
            Err(CallError::NoScript) => {
                self.compared = 0;
                Ok(())
            }
            Err(failure) => self.wait_out(failure, wait),
        }
    }

    fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.counts)
    }

    /// None while the server is away.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        if self.counts.dead == 0 {
            return Ok(Vec::new());
        }
        let read = self.call(|connection| {
            redis::pipe()
                .smembers(self.keys.named("dead"))
                .hgetall(self.keys.named("trouble"))
                .query::<(Vec<u64>, HashMap<u64, String>)>(connection)
        });
        match read {
            Ok((dead, trouble)) => Ok(reading::dead_letters(dead, &trouble)),
            Err(CallError::Fatal(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// None while the server is away.
    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError> {
        let read = self.call(|connection| {
            redis::pipe()
                .hgetall(self.keys.named("workers"))
                .hgetall(self.keys.named("lease"))
                .zrange_withscores(self.keys.named("deadline"), 0, -1)
                .zrange_withscores(self.keys.named("seen"), 0, -1)
                .query::<(
                    BTreeMap<String, Vec<u8>>,
                    BTreeMap<u64, String>,
                    Vec<(u64, u64)>,
                    HashMap<String, u64>,
                )>(connection)
        });
        match read {
            Ok((workers, leases, deadlines, seen)) => {
                Ok(reading::workers(&workers, &leases, &deadlines, &seen))
            }
            Err(CallError::Fatal(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The server's clock, to the millisecond: all times of a run are its.
    fn now(&self) -> Result<Option<Duration>, QueueError> {
        let read = self.call(|connection| redis::cmd("TIME").query::<(u64, u64)>(connection));
        match read {
            Ok((seconds, micros)) => Ok(Some(
                Duration::from_secs(seconds) + Duration::from_millis(micros / 1_000),
            )),
            Err(CallError::Fatal(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
