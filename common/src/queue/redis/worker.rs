//! The worker's end: takes shards of one run, or of every run in the server, in weighted turns.

mod session;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{CallError, Link};
use super::endpoint::RedisEndpoint;
use super::keys::Keys;
use super::messages::DeliveredClaim;
use super::scripts;
use crate::plan::{Completion, WorkerInfo};
use crate::queue::error::QueueError;
use crate::queue::lease::NOTE_LIMIT;
use crate::queue::lease::{ErrorClass, LeaseId, Progress, Renewal};
use crate::queue::rendezvous_store::MOST_ENTRIES;
use crate::queue::worker::{Lease, Take, WorkQueue};
use crate::wire;
use session::{ADMISSION_RETRY, POLL_EVERY, PollOutcome, Session};

/// Longest wait to be let in.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that is away for longer is given up.
const LONGEST_OUTAGE: Duration = Duration::from_secs(600);

/// A worker's connection to a Redis server.
///
/// While the server is away, calls wait for it, up to ten minutes; renewals fail at once and are tried again by
/// their caller.
#[derive(Debug)]
pub struct RedisQueue {
    endpoint: RedisEndpoint,
    only: Option<String>,
    session: Mutex<Session>,
    /// For blocking reads, which consume nothing.
    waiting: Mutex<Link>,
}

impl RedisQueue {
    /// Prepares to serve one run, by its name in Redis or the unambiguous beginning of it, or every run.
    /// Connects when registered.
    pub fn new(url: &str, run: Option<&str>) -> Result<Self, QueueError> {
        Ok(Self::at(RedisEndpoint::from_url(url)?, run))
    }

    /// As [`Self::new`], at an endpoint with credentials of its own.
    pub fn at(endpoint: RedisEndpoint, run: Option<&str>) -> Self {
        let nonce = crate::instance::nonce();
        Self {
            only: run.map(str::to_owned),
            session: Mutex::new(Session {
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

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls again and again while the server is away.
    fn persist<T>(
        &self,
        mut call: impl FnMut(&mut Session) -> Result<T, CallError>,
    ) -> Result<T, QueueError> {
        let begin = Instant::now();
        loop {
            let mut session = self.session();
            let (failure, pause) = match call(&mut session) {
                Ok(answer) => {
                    session.note_recovery();
                    return Ok(answer);
                }
                Err(CallError::Fatal(error)) => return Err(error),
                Err(failure) => {
                    session.note_outage(&self.endpoint, &failure);
                    (failure, session.link.pause())
                }
            };
            drop(session);
            if begin.elapsed() > LONGEST_OUTAGE {
                return Err(failure.into_queue_error(&self.endpoint));
            }
            std::thread::sleep(pause.max(Duration::from_millis(50)));
        }
    }

    /// The full name of the run asked for.
    fn resolve(&self, wanted: &str) -> Result<String, QueueError> {
        let mut runs = self
            .session()
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
    fn await_admission(&self, run: &str) -> Result<(), QueueError> {
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            let ask = asked.is_none_or(|at| at.elapsed() > ADMISSION_RETRY);
            let answer = self.persist(|session| {
                let served = session.served(run);
                let keys = served.keys.clone();
                if ask {
                    session.request_admission(&keys)?;
                }
                session.admission(&keys)
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

    /// Waits until a lane grows, or `wait` has passed; true when one has grown, or nobody knows.
    fn wait_for_work(&self, tails: &[(String, String)], wait: Duration) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = waiting.pause();
        if tails.is_empty() || !pause.is_zero() {
            std::thread::sleep(wait.min(pause.max(Duration::from_millis(100))));
            return true;
        }
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let (keys, ids): (Vec<&str>, Vec<&str>) = tails
            .iter()
            .map(|(key, id)| (key.as_str(), id.as_str()))
            .unzip();
        let woken = waiting.call(wait, |connection| {
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
        match woken {
            Ok(answer) => answer != redis::Value::Nil,
            Err(error) => {
                // The next call says what is wrong, if anything still is.
                tracing::debug!(?error, "waiting for work was interrupted");
                std::thread::sleep(wait.min(Duration::from_millis(50)));
                true
            }
        }
    }
}

impl WorkQueue for RedisQueue {
    fn register(&self, worker: &WorkerInfo) -> Result<(), QueueError> {
        {
            let mut session = self.session();
            session.info = Some(worker.clone());
            // A first connection that fails is a mistake to be told, not an outage to be waited for.
            session
                .runs_there()
                .map_err(|error| error.into_queue_error(&self.endpoint))?;
        }
        match &self.only {
            None => Ok(()),
            Some(wanted) => self.await_admission(&self.resolve(wanted)?),
        }
    }

    fn run_of(&self, lease: &LeaseId) -> Option<String> {
        let session = self.session();
        session.held.get(lease).map(|keys| keys.run().to_owned())
    }

    fn take(&self, wait: Duration) -> Result<Take, QueueError> {
        let until = Instant::now() + wait;
        loop {
            let polled = {
                let mut session = self.session();
                // Registration has resolved the name; the run it stands for is the only one here.
                let only = self.only.as_ref().and(session.runs.keys().next().cloned());
                if self.only.is_some() && only.is_none() {
                    let text = "this worker is not registered".to_owned();
                    return Err(QueueError::Gone(text));
                }
                let polled = session.poll_runs(only.as_deref());
                match &polled {
                    Ok(_) => session.note_recovery(),
                    Err(CallError::Fatal(_)) => {}
                    Err(failure) => session.note_outage(&self.endpoint, failure),
                }
                if session
                    .away
                    .is_some_and(|since| since.elapsed() > LONGEST_OUTAGE)
                {
                    return match polled {
                        Err(failure) => Err(failure.into_queue_error(&self.endpoint)),
                        Ok(_) => continue,
                    };
                }
                polled
            };
            let (tails, due) = match polled {
                Ok(PollOutcome::Take(take)) => return Ok(take),
                Ok(PollOutcome::Nothing { tails, due }) => (tails, due),
                Err(CallError::Fatal(error)) => return Err(error),
                Err(_) => (Vec::new(), POLL_EVERY),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Take::Empty);
            }
            let grown = self.wait_for_work(&tails, left.min(due).min(POLL_EVERY));
            // The next call begins by asking: once more here, and a fleet that waits would ask twice as often.
            if !grown && Instant::now() >= until {
                return Ok(Take::Empty);
            }
        }
    }

    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError> {
        let mut session = self.session();
        let Some(keys) = session.held.get(lease).cloned() else {
            return Ok(Renewal::Lost);
        };
        let ticks = progress.ticks.to_string();
        let note = &progress.note[..progress.note.floor_char_boundary(NOTE_LIMIT)];
        let answer: Result<String, CallError> = session.transition(
            &scripts::RENEW,
            &keys,
            lease,
            &[ticks.as_bytes(), note.as_bytes()],
        );
        match answer {
            Ok(answer) => {
                session.note_recovery();
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
            let answer = self.persist(|session| {
                let Some(keys) = session.held.get(&lease.id).cloned() else {
                    return Ok("unknown".to_owned());
                };
                let claim = DeliveredClaim {
                    lease: lease.id,
                    worker: session.name(),
                    job: lease.job.clone(),
                    completion: completion.clone(),
                };
                let bytes = wire::encode(&claim).map_err(|error| CallError::Fatal(error.into()))?;
                session.transition(&scripts::COMPLETE, &keys, &lease.id, &[&bytes])
            })?;
            match answer.as_str() {
                // More results than the coordinator has read: it will come to them.
                "full" => std::thread::sleep(POLL_EVERY),
                _ => {
                    self.session().held.remove(&lease.id);
                    return Ok(());
                }
            }
        }
    }

    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.persist(|session| session.fail(lease, class, message))
    }

    fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.persist(|session| session.end(&scripts::RELEASE, lease, &[]))
    }

    fn rendezvous_set(&self, lease: &Lease, key: &str, value: &[u8]) -> Result<(), QueueError> {
        let generation = lease.generation()?.to_string();
        let most = MOST_ENTRIES.to_string();
        let answer: String = self.persist(|session| {
            let Some(keys) = session.held.get(&lease.id).cloned() else {
                return Ok("over".to_owned());
            };
            let arguments = [
                generation.as_bytes(),
                most.as_bytes(),
                key.as_bytes(),
                value,
            ];
            session
                .link
                .run_script(&scripts::RENDEZVOUS_SET, &keys, &arguments)
        })?;
        match answer.as_str() {
            "full" => Err(QueueError::Protocol(
                "the gang has put up too many notes".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn rendezvous_get(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let generation = lease.generation()?.to_string();
        self.persist(|session| {
            let Some(keys) = session.held.get(&lease.id).cloned() else {
                return Ok(None);
            };
            let arguments = [generation.as_bytes(), key.as_bytes()];
            session
                .link
                .run_script(&scripts::RENDEZVOUS_GET, &keys, &arguments)
        })
    }

    fn leave(&self) -> Result<(), QueueError> {
        let mut session = self.session();
        let name = session.name();
        let runs: Vec<Keys> = session.runs.values().map(|run| run.keys.clone()).collect();
        for keys in runs {
            let left: Result<i64, CallError> =
                session
                    .link
                    .run_script(&scripts::LEAVE, &keys, &[name.as_bytes()]);
            left.map_err(|error| error.into_queue_error(&self.endpoint))?;
        }
        Ok(())
    }
}
