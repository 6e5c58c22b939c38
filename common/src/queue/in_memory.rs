//! A queue in memory: the state machine with its workers, verdicts and events, still without threads
//! or sockets.
//!
//! The local driver puts a socket in front of it. By itself it serves a test, or a caller that plays the
//! worker too. All calls come from one thread, so every decision has an order and the coordinator's
//! journal needs no lock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dispatch::{Claim, Dispatch, Event, QueueHandler, Submission, Verdict, WorkerStatus};
use super::error::QueueError;
use super::lease::{Counts, DeadLetter, Expired, Finish, LeaseTable, Setback};
use super::lease::{ErrorClass, LeaseConfig, LeaseId, Progress, Renewal};
use super::rendezvous_store::RendezvousStore;
use super::worker::{Lease, Take};
use crate::plan::{Completion, Job, WorkerInfo};

/// Time since some start; never goes back.
pub trait Clock: std::fmt::Debug + Send {
    fn now(&self) -> Duration;
}

#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A worker that was let in and is not gone.
#[derive(Debug)]
struct ConnectedWorker {
    info: WorkerInfo,
    heard: Duration,
}

/// Leases, workers and the answers they get.
#[derive(Debug)]
pub struct InMemoryQueue {
    table: LeaseTable<Job>,
    workers: BTreeMap<String, ConnectedWorker>,
    /// Workers that are not trusted any more, and why.
    retired: BTreeMap<String, String>,
    clock: Box<dyn Clock>,
    rendezvous: RendezvousStore,
    finishing: bool,
    draining: bool,
    /// Events of calls that have no handler to tell.
    untold: Vec<Event>,
}

impl InMemoryQueue {
    /// A queue without shards or workers.
    pub fn new(config: LeaseConfig, clock: Box<dyn Clock>) -> Self {
        Self {
            table: LeaseTable::new(config),
            workers: BTreeMap::new(),
            retired: BTreeMap::new(),
            clock,
            rendezvous: RendezvousStore::default(),
            finishing: false,
            draining: false,
            untold: Vec::new(),
        }
    }

    /// Lets a worker in.
    ///
    /// # Errors
    /// The reason why not: the coordinator's, or that its name is taken.
    pub fn register(
        &mut self,
        worker: &WorkerInfo,
        handler: &mut dyn QueueHandler,
    ) -> Result<(), String> {
        if self.workers.contains_key(&worker.worker) {
            let name = &worker.worker;
            return Err(format!(
                "a worker named {name} is here already; names are unique per start"
            ));
        }
        handler.admit(worker)?;
        let present = ConnectedWorker {
            info: worker.clone(),
            heard: self.clock.now(),
        };
        self.workers.insert(worker.worker.clone(), present);
        handler.notice(Event::WorkerJoined(worker.clone()));
        Ok(())
    }

    /// Work for `worker`, if there is any right now. A name that is not registered gets
    /// [`Take::Drain`].
    pub fn take(&mut self, worker: &str, handler: &mut dyn QueueHandler) -> Take {
        self.hear(worker);
        self.advance(handler);
        if let Some(reason) = self.retired.get(worker) {
            return Take::Retired(reason.clone());
        }
        if self.draining || !self.workers.contains_key(worker) {
            return Take::Drain;
        }
        if self.finishing && self.table.counts().outstanding() == 0 {
            return Take::Finished;
        }
        let ttl = self.table.config().ttl;
        let peers: Vec<&str> = self
            .workers
            .keys()
            .filter(|name| !self.retired.contains_key(*name))
            .map(String::as_str)
            .collect();
        match self.table.take(worker, &peers, self.clock.now()) {
            None => Take::Empty,
            Some(grant) => {
                let lease = Lease {
                    id: grant.lease,
                    ttl,
                    job: grant.payload.clone(),
                };
                handler.notice(Event::Leased {
                    lease: lease.id,
                    worker: worker.to_owned(),
                });
                Take::Leased(lease)
            }
        }
    }

    pub fn renew(&mut self, worker: &str, lease: LeaseId, progress: Progress) -> Renewal {
        self.hear(worker);
        self.table.renew(worker, lease, progress, self.clock.now())
    }

    /// Has a result verified and moves its shard accordingly.
    pub fn complete(
        &mut self,
        worker: &str,
        lease: LeaseId,
        completion: &Completion,
        handler: &mut dyn QueueHandler,
    ) {
        self.hear(worker);
        let Some(job) = self.table.payload(lease.shard) else {
            tracing::warn!(
                worker,
                shard = lease.shard,
                "result of an unknown shard ignored"
            );
            return;
        };
        let claim = Claim {
            lease,
            job,
            worker,
            completion,
        };
        match handler.commit(claim) {
            Verdict::Accept => {
                let finish = self.table.complete(worker, lease);
                if finish != Finish::InTime {
                    tracing::info!(
                        worker,
                        shard = lease.shard,
                        ?finish,
                        "result after the lease was lost"
                    );
                }
            }
            Verdict::Reject(reason) => {
                let message = format!("the result was rejected: {reason}");
                self.fail(worker, lease, ErrorClass::Transient, &message, handler);
            }
            Verdict::Undecided => self.release(worker, lease, handler),
        }
    }

    pub fn fail(
        &mut self,
        worker: &str,
        lease: LeaseId,
        class: ErrorClass,
        message: &str,
        handler: &mut dyn QueueHandler,
    ) {
        self.hear(worker);
        let now = self.clock.now();
        let setback = self.table.fail(worker, lease, class, message, now);
        handler.notice(Event::Failed {
            lease,
            worker: worker.to_owned(),
            class,
            message: super::lease::shorten(message).to_owned(),
            setback,
        });
    }

    /// Takes a shard back without blame.
    pub fn release(&mut self, worker: &str, lease: LeaseId, handler: &mut dyn QueueHandler) {
        self.hear(worker);
        let setback = self.table.release(worker, lease);
        if setback != Setback::NotHeld {
            handler.notice(Event::Released {
                lease,
                worker: worker.to_owned(),
                setback,
            });
        }
    }

    /// Sets a value for the ranks of a generation; false when there is no room.
    pub fn rendezvous_set(&mut self, generation: u64, key: &str, note: Vec<u8>) -> bool {
        self.rendezvous.set(generation, key, note)
    }

    /// A value of a generation, if it is set.
    pub fn rendezvous_get(&self, generation: u64, key: &str) -> Option<Vec<u8>> {
        self.rendezvous.get(generation, key).map(<[u8]>::to_vec)
    }

    /// A worker ends in good order: it holds nothing any more.
    pub fn leave(&mut self, worker: &str, handler: &mut dyn QueueHandler) {
        let held: Vec<LeaseId> = self.held_by(worker);
        for lease in held {
            self.release(worker, lease, handler);
        }
        self.gone(worker, handler);
    }

    fn held_by(&self, worker: &str) -> Vec<LeaseId> {
        let leases = self.table.leases_of(worker);
        leases.map(|live| live.lease).collect()
    }

    /// A worker is gone for good: each of its leases is a crash.
    pub fn gone(&mut self, worker: &str, handler: &mut dyn QueueHandler) {
        let Some(present) = self.workers.remove(worker) else {
            return;
        };
        self.retired.remove(worker);
        handler.notice(Event::WorkerLeft(present.info));
        let expired = self.table.owner_lost(worker);
        report(expired, handler);
    }

    fn hear(&mut self, worker: &str) {
        if let Some(present) = self.workers.get_mut(worker) {
            present.heard = self.clock.now();
        }
    }

    /// Tells of events that could not be told at once, and ends leases that have run out.
    pub fn advance(&mut self, handler: &mut dyn QueueHandler) {
        for event in self.untold.drain(..) {
            handler.notice(event);
        }
        let expired = self.table.reap(self.clock.now());
        report(expired, handler);
    }

    /// Time until something happens by itself, if anything will.
    pub fn next_change(&self) -> Option<Duration> {
        let deadline = self.table.next_deadline()?;
        Some(deadline.saturating_sub(self.clock.now()))
    }
}

fn report(expired: Vec<Expired>, handler: &mut dyn QueueHandler) {
    for Expired {
        lease,
        owner,
        setback,
    } in expired
    {
        handler.notice(Event::Crashed {
            lease,
            worker: owner,
            setback,
        });
    }
}

impl Dispatch for InMemoryQueue {
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError> {
        let mut added = 0;
        for new in shards {
            let is_new = self
                .table
                .submit(new.shard, new.job, new.priority, new.avoid);
            added += u64::from(is_new);
        }
        Ok(added)
    }

    /// Nothing: this queue begins empty.
    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError> {
        Ok(Vec::new())
    }

    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError> {
        if self.workers.contains_key(worker) {
            for lease in self.held_by(worker) {
                let setback = self.table.release(worker, lease);
                self.untold.push(Event::Released {
                    lease,
                    worker: worker.to_owned(),
                    setback,
                });
            }
            self.retired
                .insert(worker.to_owned(), super::lease::shorten(reason).to_owned());
        }
        Ok(())
    }

    /// Nothing to forget: this queue ends with its run.
    fn close(&mut self) -> Result<(), QueueError> {
        Ok(())
    }

    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError> {
        Ok(self.table.cancel(shard))
    }

    fn expire(&mut self, shard: u64) -> Result<bool, QueueError> {
        Ok(self.table.expire(shard))
    }

    fn revive(&mut self, shard: u64) -> Result<bool, QueueError> {
        Ok(self.table.revive(shard))
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError> {
        self.table.set_paused(paused);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), QueueError> {
        self.finishing = true;
        Ok(())
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        self.draining = true;
        Ok(())
    }

    /// Nobody can call meanwhile, so there is nothing to wait for: this only ends leases that have run out.
    fn serve(&mut self, handler: &mut dyn QueueHandler, _wait: Duration) -> Result<(), QueueError> {
        self.advance(handler);
        Ok(())
    }

    fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.table.counts())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        Ok(self.table.dead_letters().collect())
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError> {
        let status = |present: &ConnectedWorker| WorkerStatus {
            info: present.info.clone(),
            heard: present.heard,
            leases: self.table.leases_of(&present.info.worker).collect(),
        };
        Ok(self.workers.values().map(status).collect())
    }

    fn now(&self) -> Result<Option<Duration>, QueueError> {
        Ok(Some(self.clock.now()))
    }
}

#[cfg(test)]
mod tests;
