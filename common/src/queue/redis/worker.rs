//! The worker's end: takes shards of one run, or of every run in the server, in weighted turns.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{CallError, Link};
use super::endpoint::Endpoint;
use super::keys::{Keys, RUNS};
use super::messages::{DeliveredClaim, Hello};
use super::scripts;
use crate::ids::Digest;
use crate::queue::lease::{NOTE_LIMIT, shorten};
use crate::queue::{
    ErrorClass, Lane, Lease, LeaseId, Progress, QueueError, Renewal, Take, WorkQueue,
};
use crate::wire;
use crate::work::{Completion, Job, WorkerInfo};

/// Longest sleep without a look at the runs: new ones, pauses and ends are seen after this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A coordinator that has not answered a hello in this time is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Longest wait to be let in.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that is away for longer is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Most runs a worker looks at.
const MAX_RUNS: usize = 256;

/// A worker's connection to a Redis server.
///
/// While the server is away, calls wait for it, up to ten minutes; renewals fail at once and are tried again by
/// their caller.
#[derive(Debug)]
pub struct RedisQueue {
    endpoint: Endpoint,
    only: Option<String>,
    desk: Mutex<Desk>,
    /// For blocking reads, which consume nothing.
    waiting: Mutex<Link>,
}

/// Everything but waiting.
#[derive(Debug)]
struct Desk {
    link: Link,
    info: Option<WorkerInfo>,
    nonce: String,
    runs: BTreeMap<String, Serving>,
    /// Takes so far: whose turn it is, among lanes and among runs.
    turn: u64,
    /// Whose the leases are.
    held: BTreeMap<LeaseId, Keys>,
    /// Since when the server is away.
    away: Option<Instant>,
}

/// A run this worker looks at.
#[derive(Debug)]
struct Serving {
    keys: Keys,
    asked: Option<Instant>,
    refused: bool,
}

/// What one look at the runs gave.
enum Look {
    Take(Take),
    /// Nothing: the ends of the lanes, and when time will bring something.
    Nothing {
        tails: Vec<(String, String)>,
        due: Duration,
    },
}

impl RedisQueue {
    /// Prepares to serve one run, by its name in Redis or the unambiguous beginning of it, or every run.
    /// Connects when registered.
    ///
    /// # Errors
    /// As [`Endpoint::from_url`].
    pub fn new(url: &str, run: Option<&str>) -> Result<Self, QueueError> {
        Ok(Self::at(Endpoint::from_url(url)?, run))
    }

    /// As [`Self::new`], at an endpoint with credentials of its own.
    pub fn at(endpoint: Endpoint, run: Option<&str>) -> Self {
        let nonce = Digest::of(crate::queue::unique_worker_id().as_bytes()).short();
        Self {
            only: run.map(str::to_owned),
            desk: Mutex::new(Desk {
                link: Link::new(endpoint.clone()),
                info: None,
                nonce,
                runs: BTreeMap::new(),
                turn: 0,
                held: BTreeMap::new(),
                away: None,
            }),
            waiting: Mutex::new(Link::new(endpoint.clone())),
            endpoint,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls again and again while the server is away.
    fn persist<T>(
        &self,
        mut call: impl FnMut(&mut Desk) -> Result<T, CallError>,
    ) -> Result<T, QueueError> {
        let begin = Instant::now();
        loop {
            let mut desk = self.desk();
            let (failure, pause) = match call(&mut desk) {
                Ok(answer) => {
                    desk.is_back();
                    return Ok(answer);
                }
                Err(CallError::Fatal(error)) => return Err(error),
                Err(failure) => {
                    desk.is_away(&self.endpoint, &failure);
                    (failure, desk.link.pause())
                }
            };
            drop(desk);
            if begin.elapsed() > PATIENCE {
                return Err(failure.into_queue_error(&self.endpoint));
            }
            std::thread::sleep(pause.max(Duration::from_millis(50)));
        }
    }

    /// The full name of the run asked for.
    fn resolve(&self, wanted: &str) -> Result<String, QueueError> {
        let mut runs = self
            .desk()
            .runs_there()
            .map_err(|error| error.into_queue_error(&self.endpoint))?;
        if runs.iter().any(|run| run == wanted) {
            return Ok(wanted.to_owned());
        }
        let all = runs.join(", ");
        runs.retain(|run| run.starts_with(wanted));
        match runs.as_slice() {
            [run] => Ok(run.clone()),
            _ => Err(QueueError::Refused(format!(
                "{} has no run '{wanted}' (its runs: {}); start its coordinator first",
                self.endpoint,
                if all.is_empty() { "none" } else { &all }
            ))),
        }
    }

    /// Asks to be let into `run` and waits for the answer.
    fn enter(&self, run: &str) -> Result<(), QueueError> {
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            let ask = asked.is_none_or(|at| at.elapsed() > ASK_AGAIN);
            let answer = self.persist(|desk| {
                let serving = desk.serving(run);
                let keys = serving.keys.clone();
                if ask {
                    desk.greet(&keys)?;
                }
                desk.admission(&keys)
            })?;
            if ask {
                asked = Some(Instant::now());
            }
            match answer {
                Some(Ok(())) => return Ok(()),
                Some(Err(reason)) => return Err(QueueError::Refused(reason)),
                None if begin.elapsed() > ADMISSION_TIMEOUT => {
                    return Err(QueueError::Gone(format!(
                        "nobody answers for run {run}; is its coordinator at work?"
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until a lane grows, or `nap` has passed.
    fn nap(&self, tails: &[(String, String)], nap: Duration) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = waiting.pause();
        if tails.is_empty() || !pause.is_zero() {
            std::thread::sleep(nap.min(pause.max(Duration::from_millis(100))));
            return;
        }
        let millis = u64::try_from(nap.as_millis()).unwrap_or(u64::MAX).max(1);
        let (keys, ids): (Vec<&str>, Vec<&str>) = tails
            .iter()
            .map(|(key, id)| (key.as_str(), id.as_str()))
            .unzip();
        let woken = waiting.call(nap, |connection| {
            redis::cmd("XREAD")
                .arg("COUNT")
                .arg(1)
                .arg("BLOCK")
                .arg(millis)
                .arg("STREAMS")
                .arg(keys)
                .arg(ids)
                .query::<redis::Value>(connection)
        });
        if let Err(error) = woken {
            // The next look says what is wrong, if anything still is.
            tracing::debug!(?error, "waiting for work was interrupted");
            std::thread::sleep(nap.min(Duration::from_millis(50)));
        }
    }
}

impl Desk {
    fn is_away(&mut self, place: &Endpoint, failure: &CallError) {
        if self.away.is_none() {
            let why = match failure {
                CallError::Away(text) => text.clone(),
                _ => "its coordinator has to load the transitions".to_owned(),
            };
            tracing::warn!(queue = %place, why, "the queue is away; trying again until it is back");
            self.away = Some(Instant::now());
        }
    }

    fn is_back(&mut self) {
        if let Some(since) = self.away.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "the queue is back");
        }
    }

    fn name(&self) -> String {
        let info = self.info.as_ref();
        info.map_or_else(String::new, |info| info.worker.clone())
    }

    fn serving(&mut self, run: &str) -> &mut Serving {
        self.runs.entry(run.to_owned()).or_insert_with(|| Serving {
            keys: Keys::of(run),
            asked: None,
            refused: false,
        })
    }

    fn runs_there(&mut self) -> Result<Vec<String>, CallError> {
        let mut runs: Vec<String> = self.link.call(Duration::ZERO, |connection| {
            redis::cmd("SMEMBERS").arg(RUNS).query(connection)
        })?;
        runs.sort_unstable();
        runs.truncate(MAX_RUNS);
        Ok(runs)
    }

    fn greet(&mut self, keys: &Keys) -> Result<(), CallError> {
        let Some(info) = self.info.clone() else {
            return Err(CallError::Fatal(QueueError::Protocol(
                "this worker is not registered".to_owned(),
            )));
        };
        let hello = Hello {
            info,
            nonce: self.nonce.clone(),
        };
        let bytes = wire::encode(&hello).map_err(|error| CallError::Fatal(error.into()))?;
        let name = self.name();
        let answer: String = self
            .link
            .run(&scripts::HELLO, keys, &[name.as_bytes(), &bytes])?;
        tracing::debug!(run = keys.run(), answer, "asked to be let in");
        Ok(())
    }

    /// The coordinator's answer to this worker, if there is one.
    fn admission(&mut self, keys: &Keys) -> Result<Option<Result<(), String>>, CallError> {
        let name = self.name();
        let answer: Option<String> = self.link.call(Duration::ZERO, |connection| {
            redis::cmd("HGET")
                .arg(keys.named("admitted"))
                .arg(&name)
                .query(connection)
        })?;
        let Some(answer) = answer else {
            return Ok(None);
        };
        let (sign, rest) = answer.split_at(answer.len().min(1));
        let (nonce, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        Ok(match sign {
            "+" if nonce == self.nonce => Some(Ok(())),
            "+" => Some(Err(format!(
                "a worker named {name} is here already; names are unique per start"
            ))),
            "-" if nonce == self.nonce => Some(Err(reason.to_owned())),
            _ => None,
        })
    }

    /// Looks at every run once: by lanes first, so that a run's urgency counts among runs too.
    fn look(&mut self, only: Option<&str>) -> Result<Look, CallError> {
        let runs = match only {
            Some(run) => vec![run.to_owned()],
            None => self.runs_there()?,
        };
        self.runs.retain(|run, _| runs.contains(run));
        let order = Lane::order(self.turn).map(|lane| (lane.index() + 1).to_string());
        let rounds: Vec<&[String]> = match runs.len() {
            1 => vec![&order],
            _ => order.chunks(1).collect(),
        };
        let mut tails = Vec::new();
        let mut due = LOOK_EVERY;
        for (round, lanes) in rounds.iter().enumerate() {
            for at in 0..runs.len() {
                #[allow(clippy::cast_possible_truncation)] // below the number of runs
                let at = (at + (self.turn % runs.len() as u64) as usize) % runs.len();
                let answer = self.ask_for_work(&runs[at], lanes)?;
                let fields: Vec<String> = answer.iter().map(|field| text(field)).collect();
                match fields.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["leased", shard, epoch, ttl, _] => {
                        if let Some(lease) =
                            self.granted(&runs[at], shard, epoch, ttl, &answer[4])?
                        {
                            self.turn += 1;
                            return Ok(Look::Take(Take::Leased(lease)));
                        }
                    }
                    ["empty", a, b, c, wait] if round == 0 => {
                        let serving = self.serving(&runs[at]);
                        let ends = serving.keys.lanes().iter().cloned().zip([a, b, c]);
                        tails.extend(ends.map(|(key, id)| (key, id.to_owned())));
                        due = due.min(Duration::from_millis(wait.parse().unwrap_or(0)));
                    }
                    ["stranger"] => self.ask_in(&runs[at])?,
                    ["retired", reason] => {
                        return Ok(Look::Take(Take::Retired(reason.to_owned())));
                    }
                    ["refused", answer] => {
                        let reason = answer.split_once(' ').map_or(answer, |(_, reason)| reason);
                        if only.is_some() {
                            let reason = reason.to_owned();
                            return Err(CallError::Fatal(QueueError::Refused(reason)));
                        }
                        let serving = self.serving(&runs[at]);
                        if !serving.refused {
                            serving.refused = true;
                            tracing::warn!(run = runs[at], reason, "a run refused this worker");
                        }
                    }
                    ["over" | "finished"] if only.is_some() => {
                        return Ok(Look::Take(Take::Finished));
                    }
                    ["drain"] if only.is_some() => return Ok(Look::Take(Take::Drain)),
                    _ => {}
                }
            }
        }
        Ok(Look::Nothing {
            tails,
            // At once would spin while another worker does what is due.
            due: due.max(Duration::from_millis(10)),
        })
    }

    fn ask_for_work(&mut self, run: &str, lanes: &[String]) -> Result<Vec<Vec<u8>>, CallError> {
        let keys = self.serving(run).keys.clone();
        let name = self.name();
        let mut arguments = vec![name.as_bytes()];
        arguments.extend(lanes.iter().map(|lane| lane.as_bytes()));
        self.link.run(&scripts::TAKE, &keys, &arguments)
    }

    fn ask_in(&mut self, run: &str) -> Result<(), CallError> {
        let serving = self.serving(run);
        if serving.asked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return Ok(());
        }
        serving.asked = Some(Instant::now());
        let keys = serving.keys.clone();
        self.greet(&keys)
    }

    /// A grant as a lease; none when it cannot be used, and then it has been given up.
    fn granted(
        &mut self,
        run: &str,
        shard: &str,
        epoch: &str,
        ttl: &str,
        job: &[u8],
    ) -> Result<Option<Lease>, CallError> {
        let keys = self.serving(run).keys.clone();
        let (Ok(number), Ok(grant), Ok(ttl)) = (shard.parse(), epoch.parse(), ttl.parse()) else {
            let text = format!("a lease that makes no sense: {shard} {epoch} {ttl}");
            return Err(CallError::Fatal(QueueError::Protocol(text)));
        };
        let id = LeaseId {
            shard: number,
            epoch: grant,
        };
        match wire::decode::<Job>(job) {
            // Two runs with the same shard and epoch at the same time: one of them can wait.
            Ok(_) if self.held.contains_key(&id) => {
                let name = self.name();
                let arguments = [name.as_bytes(), shard.as_bytes(), epoch.as_bytes()];
                let _: i64 = self.link.run(&scripts::HAND_BACK, &keys, &arguments)?;
                Ok(None)
            }
            Ok(job) => {
                self.held.insert(id, keys);
                let ttl = Duration::from_millis(ttl);
                Ok(Some(Lease { id, ttl, job }))
            }
            Err(error) => {
                tracing::error!(run, shard, %error, "a job that cannot be read");
                let text = format!("the job cannot be read: {error}");
                self.held.insert(id, keys);
                self.fail(&id, ErrorClass::Fatal, &text)?;
                Ok(None)
            }
        }
    }

    fn fail(&mut self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), CallError> {
        let final_flag = if class.is_final() { "1" } else { "0" };
        let arguments = [class.name(), final_flag, shorten(message)];
        self.end(&scripts::FAIL, lease, &arguments.map(str::as_bytes))
    }

    /// A transition that ends a lease.
    fn end(
        &mut self,
        script: &redis::Script,
        lease: &LeaseId,
        more: &[&[u8]],
    ) -> Result<(), CallError> {
        let Some(keys) = self.held.get(lease).cloned() else {
            return Ok(());
        };
        let _: redis::Value = self.transition(script, &keys, lease, more)?;
        self.held.remove(lease);
        Ok(())
    }

    fn transition<T: redis::FromRedisValue>(
        &mut self,
        script: &redis::Script,
        keys: &Keys,
        lease: &LeaseId,
        more: &[&[u8]],
    ) -> Result<T, CallError> {
        let name = self.name();
        let (shard, epoch) = (lease.shard.to_string(), lease.epoch.to_string());
        let mut arguments = vec![name.as_bytes(), shard.as_bytes(), epoch.as_bytes()];
        arguments.extend(more);
        self.link.run(script, keys, &arguments)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl WorkQueue for RedisQueue {
    fn register(&self, worker: &WorkerInfo) -> Result<(), QueueError> {
        {
            let mut desk = self.desk();
            desk.info = Some(worker.clone());
            // A first connection that fails is a mistake to be told, not an outage to be waited for.
            desk.runs_there()
                .map_err(|error| error.into_queue_error(&self.endpoint))?;
        }
        match &self.only {
            None => Ok(()),
            Some(wanted) => self.enter(&self.resolve(wanted)?),
        }
    }

    fn take(&self, wait: Duration) -> Result<Take, QueueError> {
        let until = Instant::now() + wait;
        loop {
            let looked = {
                let mut desk = self.desk();
                // Registration has resolved the name; the run it stands for is the only one here.
                let only = self.only.as_ref().and(desk.runs.keys().next().cloned());
                if self.only.is_some() && only.is_none() {
                    let text = "this worker is not registered".to_owned();
                    return Err(QueueError::Gone(text));
                }
                let looked = desk.look(only.as_deref());
                match &looked {
                    Ok(_) => desk.is_back(),
                    Err(CallError::Fatal(_)) => {}
                    Err(failure) => desk.is_away(&self.endpoint, failure),
                }
                if desk.away.is_some_and(|since| since.elapsed() > PATIENCE) {
                    return match looked {
                        Err(failure) => Err(failure.into_queue_error(&self.endpoint)),
                        Ok(_) => continue,
                    };
                }
                looked
            };
            let (tails, due) = match looked {
                Ok(Look::Take(take)) => return Ok(take),
                Ok(Look::Nothing { tails, due }) => (tails, due),
                Err(CallError::Fatal(error)) => return Err(error),
                Err(_) => (Vec::new(), LOOK_EVERY),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Take::Empty);
            }
            self.nap(&tails, left.min(due).min(LOOK_EVERY));
        }
    }

    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError> {
        let mut desk = self.desk();
        let Some(keys) = desk.held.get(lease).cloned() else {
            return Ok(Renewal::Lost);
        };
        let ticks = progress.ticks.to_string();
        let note = &progress.note[..progress.note.floor_char_boundary(NOTE_LIMIT)];
        let answer: Result<String, CallError> = desk.transition(
            &scripts::RENEW,
            &keys,
            lease,
            &[ticks.as_bytes(), note.as_bytes()],
        );
        match answer {
            Ok(answer) => {
                desk.is_back();
                Ok(match answer.as_str() {
                    "held" => Renewal::Held { cancel: false },
                    "cancel" => Renewal::Held { cancel: true },
                    _ => Renewal::Lost,
                })
            }
            Err(error) => Err(error.into_queue_error(&self.endpoint)),
        }
    }

    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError> {
        loop {
            let answer = self.persist(|desk| {
                let Some(keys) = desk.held.get(&lease.id).cloned() else {
                    return Ok("unknown".to_owned());
                };
                let claim = DeliveredClaim {
                    lease: lease.id,
                    worker: desk.name(),
                    job: lease.job.clone(),
                    completion: completion.clone(),
                };
                let bytes = wire::encode(&claim).map_err(|error| CallError::Fatal(error.into()))?;
                desk.transition(&scripts::COMPLETE, &keys, &lease.id, &[&bytes])
            })?;
            match answer.as_str() {
                // More results than the coordinator has read: it will come to them.
                "full" => std::thread::sleep(LOOK_EVERY),
                _ => {
                    self.desk().held.remove(&lease.id);
                    return Ok(());
                }
            }
        }
    }

    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.persist(|desk| desk.fail(lease, class, message))
    }

    fn hand_back(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.persist(|desk| desk.end(&scripts::HAND_BACK, lease, &[]))
    }

    fn leave(&self) -> Result<(), QueueError> {
        let mut desk = self.desk();
        let name = desk.name();
        let runs: Vec<Keys> = desk.runs.values().map(|run| run.keys.clone()).collect();
        for keys in runs {
            let left: Result<i64, CallError> =
                desk.link.run(&scripts::LEAVE, &keys, &[name.as_bytes()]);
            left.map_err(|error| error.into_queue_error(&self.endpoint))?;
        }
        Ok(())
    }
}
