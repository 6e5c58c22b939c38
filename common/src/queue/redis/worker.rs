//! The worker's end: takes shards of one run, or of every run in the server, in weighted turns.

mod desk;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{CallError, Link};
use super::endpoint::Endpoint;
use super::keys::Keys;
use super::messages::DeliveredClaim;
use super::scripts;
use crate::ids::Digest;
use crate::queue::board::MOST_NOTES;
use crate::queue::lease::NOTE_LIMIT;
use crate::queue::{ErrorClass, Lease, LeaseId, Progress, QueueError, Renewal, Take, WorkQueue};
use crate::wire;
use crate::work::{Completion, WorkerInfo};
use desk::{ASK_AGAIN, Desk, Look};

/// Longest sleep without a look at the runs: new ones, pauses and ends are seen after this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest wait to be let in.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that is away for longer is given up.
const PATIENCE: Duration = Duration::from_secs(600);

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

    fn post(&self, lease: &Lease, key: &str, note: &[u8]) -> Result<(), QueueError> {
        let generation = lease.generation()?.to_string();
        let most = MOST_NOTES.to_string();
        let answer: String = self.persist(|desk| {
            let Some(keys) = desk.held.get(&lease.id).cloned() else {
                return Ok("over".to_owned());
            };
            let arguments = [generation.as_bytes(), most.as_bytes(), key.as_bytes(), note];
            desk.link.run(&scripts::POST, &keys, &arguments)
        })?;
        match answer.as_str() {
            "full" => Err(QueueError::Protocol(
                "the gang has put up too many notes".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn read(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let generation = lease.generation()?.to_string();
        self.persist(|desk| {
            let Some(keys) = desk.held.get(&lease.id).cloned() else {
                return Ok(None);
            };
            let arguments = [generation.as_bytes(), key.as_bytes()];
            desk.link.run(&scripts::READ, &keys, &arguments)
        })
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
