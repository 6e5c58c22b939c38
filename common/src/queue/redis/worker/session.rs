//! What a worker knows of its runs and leases, and the questions it asks the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::plan::{Job, WorkerInfo};
use crate::queue::error::QueueError;
use crate::queue::lease::shorten;
use crate::queue::lease::{ErrorClass, LeaseId};
use crate::queue::priority::Priority;
use crate::queue::redis::connection::{CallError, Link};
use crate::queue::redis::endpoint::RedisEndpoint;
use crate::queue::redis::keys::{Keys, RUNS};
use crate::queue::redis::messages::Hello;
use crate::queue::redis::scripts;
use crate::queue::worker::{Lease, Take};
use crate::wire;

/// Longest wait without asking the runs: new ones, pauses and ends are seen after this.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(1);

/// A coordinator that has not answered a hello in this time is asked again.
pub(super) const ADMISSION_RETRY: Duration = Duration::from_secs(3);

/// Most runs a worker serves.
const MAX_RUNS: usize = 256;

/// Everything but waiting.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) info: Option<WorkerInfo>,
    pub(super) nonce: String,
    pub(super) runs: BTreeMap<String, ServedRun>,
    /// Takes so far: whose turn it is, among lanes and among runs.
    pub(super) turn: u64,
    /// Whose the leases are.
    pub(super) held: BTreeMap<LeaseId, Keys>,
    /// Since when the server is away.
    pub(super) away: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct ServedRun {
    pub(super) keys: Keys,
    asked: Option<Instant>,
    refused: bool,
}

/// What one round of asking the runs gave.
pub(super) enum PollOutcome {
    Take(Take),
    /// Nothing: the ends of the lanes, and when time will bring something.
    Nothing {
        tails: Vec<(String, String)>,
        due: Duration,
    },
}

impl Session {
    pub(super) fn note_outage(&mut self, place: &RedisEndpoint, failure: &CallError) {
        if self.away.is_none() {
            let why = match failure {
                CallError::Away(why) => why.to_string(),
                _ => "its coordinator has to load the transitions".to_owned(),
            };
            tracing::warn!(queue = %place, why, "the queue is away; trying again until it is back");
            self.away = Some(Instant::now());
        }
    }

    pub(super) fn note_recovery(&mut self) {
        if let Some(since) = self.away.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "the queue is back");
        }
    }

    pub(super) fn name(&self) -> String {
        let info = self.info.as_ref();
        info.map_or_else(String::new, |info| info.worker.clone())
    }

    pub(super) fn served(&mut self, run: &str) -> &mut ServedRun {
        self.runs
            .entry(run.to_owned())
            .or_insert_with(|| ServedRun {
                keys: Keys::of(run),
                asked: None,
                refused: false,
            })
    }

    pub(super) fn runs_there(&mut self) -> Result<Vec<String>, CallError> {
        let mut runs: Vec<String> = self.link.call(Duration::ZERO, |connection| {
            redis::cmd("SMEMBERS").arg(RUNS).query(connection)
        })?;
        runs.sort_unstable();
        runs.truncate(MAX_RUNS);
        Ok(runs)
    }

    pub(super) fn request_admission(&mut self, keys: &Keys) -> Result<(), CallError> {
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
        let answer: String = self.link.run_script(
            &scripts::REQUEST_ADMISSION,
            keys,
            &[name.as_bytes(), &bytes],
        )?;
        tracing::debug!(run = keys.run(), answer, "asked to be let in");
        Ok(())
    }

    /// The coordinator's answer to this worker, if there is one.
    pub(super) fn admission(
        &mut self,
        keys: &Keys,
    ) -> Result<Option<Result<(), String>>, CallError> {
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

    /// Asks every run once: by lanes first, so that a run's urgency counts among runs too.
    pub(super) fn poll_runs(&mut self, only: Option<&str>) -> Result<PollOutcome, CallError> {
        let runs = match only {
            Some(run) => vec![run.to_owned()],
            None => self.runs_there()?,
        };
        self.runs.retain(|run, _| runs.contains(run));
        let order = Priority::order(self.turn).map(|lane| (lane.index() + 1).to_string());
        let rounds: Vec<&[String]> = match runs.len() {
            1 => vec![&order],
            _ => order.chunks(1).collect(),
        };
        let mut tails = Vec::new();
        let mut due = POLL_EVERY;
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
                            return Ok(PollOutcome::Take(Take::Leased(lease)));
                        }
                    }
                    ["empty", a, b, c, wait] if round == 0 => {
                        let served = self.served(&runs[at]);
                        let ends = served.keys.lanes().iter().cloned().zip([a, b, c]);
                        tails.extend(ends.map(|(key, id)| (key, id.to_owned())));
                        due = due.min(Duration::from_millis(wait.parse().unwrap_or(0)));
                    }
                    ["not-admitted"] => self.request_admission_again(&runs[at])?,
                    ["retired", reason] => {
                        return Ok(PollOutcome::Take(Take::Retired(reason.to_owned())));
                    }
                    ["refused", answer] => {
                        let reason = answer.split_once(' ').map_or(answer, |(_, reason)| reason);
                        if only.is_some() {
                            let reason = reason.to_owned();
                            return Err(CallError::Fatal(QueueError::Refused(reason)));
                        }
                        let served = self.served(&runs[at]);
                        if !served.refused {
                            served.refused = true;
                            tracing::warn!(run = runs[at], reason, "a run refused this worker");
                        }
                    }
                    ["over" | "finished"] if only.is_some() => {
                        return Ok(PollOutcome::Take(Take::Finished));
                    }
                    ["drain"] if only.is_some() => return Ok(PollOutcome::Take(Take::Drain)),
                    _ => {}
                }
            }
        }
        Ok(PollOutcome::Nothing {
            tails,
            // At once would spin while another worker does what is due.
            due: due.max(Duration::from_millis(10)),
        })
    }

    fn ask_for_work(&mut self, run: &str, lanes: &[String]) -> Result<Vec<Vec<u8>>, CallError> {
        let keys = self.served(run).keys.clone();
        let name = self.name();
        let mut arguments = vec![name.as_bytes()];
        arguments.extend(lanes.iter().map(|lane| lane.as_bytes()));
        self.link.run_script(&scripts::TAKE, &keys, &arguments)
    }

    fn request_admission_again(&mut self, run: &str) -> Result<(), CallError> {
        let served = self.served(run);
        if served
            .asked
            .is_some_and(|at| at.elapsed() < ADMISSION_RETRY)
        {
            return Ok(());
        }
        served.asked = Some(Instant::now());
        let keys = served.keys.clone();
        self.request_admission(&keys)
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
        let keys = self.served(run).keys.clone();
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
                let _: i64 = self.link.run_script(&scripts::RELEASE, &keys, &arguments)?;
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

    pub(super) fn fail(
        &mut self,
        lease: &LeaseId,
        class: ErrorClass,
        message: &str,
    ) -> Result<(), CallError> {
        let final_flag = if class.is_final() { "1" } else { "0" };
        let arguments = [class.name(), final_flag, shorten(message)];
        self.end(&scripts::FAIL, lease, &arguments.map(str::as_bytes))
    }

    /// A transition that ends a lease.
    pub(super) fn end(
        &mut self,
        script: &scripts::Transition,
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

    pub(super) fn transition<T: redis::FromRedisValue>(
        &mut self,
        script: &scripts::Transition,
        keys: &Keys,
        lease: &LeaseId,
        more: &[&[u8]],
    ) -> Result<T, CallError> {
        let name = self.name();
        let (shard, epoch) = (lease.shard.to_string(), lease.epoch.to_string());
        let mut arguments = vec![name.as_bytes(), shard.as_bytes(), epoch.as_bytes()];
        arguments.extend(more);
        self.link.run_script(script, keys, &arguments)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
