//! The table of shards and the transitions between their states.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Counts, DeadLetter, ErrorClass, Expired, Failure, Finish, Grant, LeaseConfig, LeaseId,
    LiveLease, Progress, Renewal, Setback, shorten,
};
use crate::queue::priority::Priority;

/// Most workers a shard avoids; the oldest is forgotten first.
pub const MAX_AVOIDED: usize = 8;

/// A live lease is this many of its measured ticks long at least.
pub const TICKS_PER_LEASE: u32 = 4;

#[derive(Debug)]
struct ActiveLease {
    owner: String,
    epoch: u64,
    since: Duration,
    deadline: Duration,
    progress: Progress,
    /// When `progress` last moved; with it, the length of a tick is measured.
    progressed: Duration,
    cancel: bool,
}

#[derive(Debug)]
enum State {
    Queued,
    Leased(ActiveLease),
    RetryAt(Duration),
    Done,
    Dead,
    Cancelled,
}

#[derive(Debug)]
struct ShardEntry<P> {
    payload: P,
    priority: Priority,
    /// Workers that are not given it while there is another.
    avoid: Vec<String>,
    /// Position in its queue.
    sequence: u64,
    state: State,
    errors: u32,
    crashes: u32,
    last: Option<(String, Failure)>,
}

/// All shards of a run and where each stands.
#[derive(Debug)]
pub struct LeaseTable<P> {
    config: LeaseConfig,
    entries: BTreeMap<u64, ShardEntry<P>>,
    /// One for each priority; each in the order in which the shards came.
    queued: [BTreeSet<(u64, u64)>; 3],
    retries: BTreeSet<(Duration, u64)>,
    deadlines: BTreeSet<(Duration, u64)>,
    dead: BTreeSet<u64>,
    done: u64,
    cancelled: u64,
    next_epoch: u64,
    next_sequence: u64,
    /// Takes so far: whose priority's turn it is.
    turn: u64,
    paused: bool,
}

impl<P> LeaseTable<P> {
    pub fn new(config: LeaseConfig) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            queued: Default::default(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            dead: BTreeSet::new(),
            done: 0,
            cancelled: 0,
            next_epoch: 1,
            next_sequence: 0,
            turn: 0,
            paused: false,
        }
    }

    /// The numbers it runs with.
    pub const fn config(&self) -> &LeaseConfig {
        &self.config
    }

    /// Adds a shard; false when it is known already, whatever its state, and then nothing changes.
    /// `avoid` names workers that are not given it as long as there is any other.
    pub fn submit(
        &mut self,
        shard: u64,
        payload: P,
        priority: Priority,
        avoid: Vec<String>,
    ) -> bool {
        let sequence = self.next_sequence;
        match self.entries.entry(shard) {
            Slot::Occupied(_) => false,
            Slot::Vacant(vacant) => {
                vacant.insert(ShardEntry {
                    payload,
                    priority,
                    avoid,
                    sequence,
                    state: State::Queued,
                    errors: 0,
                    crashes: 0,
                    last: None,
                });
                self.queued[priority.index()].insert((sequence, shard));
                self.next_sequence += 1;
                true
            }
        }
    }

    /// Leases the first shard that is waiting or due again: priorities in weighted turns, and in a priority the
    /// order in which the shards came or came back. A shard that avoids `owner` is passed over as long as one of `peers`, the workers that
    /// are there, is not avoided. None when there is nothing, or while paused.
    pub fn take(&mut self, owner: &str, peers: &[&str], now: Duration) -> Option<Grant<'_, P>> {
        self.queue_due(now);
        if self.paused {
            return None;
        }
        let shard = Priority::order(self.turn)
            .into_iter()
            .flat_map(|priority| self.queued[priority.index()].iter())
            .map(|(_, shard)| *shard)
            .find(|shard| !self.is_for_another(*shard, owner, peers))?;
        self.turn += 1;
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let held = ActiveLease {
            owner: owner.to_owned(),
            epoch,
            since: now,
            deadline: now.saturating_add(self.config.ttl),
            progress: Progress::default(),
            progressed: now,
            cancel: false,
        };
        self.move_to(shard, State::Leased(held));
        Some(Grant {
            lease: LeaseId { shard, epoch },
            payload: self.payload(shard)?,
        })
    }

    /// Extends a lease. `progress` is the worker's counter of finished ticks; from it the length of a tick
    /// is measured, and the lease is extended by four of them where that is more than the configured time.
    pub fn renew(
        &mut self,
        owner: &str,
        lease: LeaseId,
        progress: impl Into<Progress>,
        now: Duration,
    ) -> Renewal {
        let progress = progress.into().fitted();
        let ttl = self.config.ttl;
        let Some(held) = self.held(owner, lease) else {
            return Renewal::Lost;
        };
        let mut extension = ttl;
        held.progress.note = progress.note;
        if progress.ticks > held.progress.ticks {
            let ticks = u32::try_from(progress.ticks - held.progress.ticks).unwrap_or(u32::MAX);
            let tick = now.saturating_sub(held.progressed) / ticks;
            extension = ttl.max(tick.saturating_mul(TICKS_PER_LEASE));
            held.progress.ticks = progress.ticks;
            held.progressed = now;
        }
        let cancel = held.cancel;
        let old = held.deadline;
        held.deadline = old.max(now.saturating_add(extension));
        let new = held.deadline;
        self.deadlines.remove(&(old, lease.shard));
        self.deadlines.insert((new, lease.shard));
        Renewal::Held { cancel }
    }

    /// Records that the shard's result has been accepted, whoever it came from.
    pub fn complete(&mut self, owner: &str, lease: LeaseId) -> Finish {
        let in_time = self.held(owner, lease).is_some();
        match self.entries.get(&lease.shard).map(|entry| &entry.state) {
            None => return Finish::Unknown,
            Some(State::Done) => return Finish::Repeated,
            Some(State::Cancelled) => return Finish::Cancelled,
            Some(State::Queued | State::Leased(_) | State::RetryAt(_) | State::Dead) => {}
        }
        self.move_to(lease.shard, State::Done);
        if in_time {
            Finish::InTime
        } else {
            Finish::Late
        }
    }

    /// Records an error reported by the holder of the lease.
    pub fn fail(
        &mut self,
        owner: &str,
        lease: LeaseId,
        class: ErrorClass,
        message: &str,
        now: Duration,
    ) -> Setback {
        let LeaseConfig {
            max_errors,
            backoff,
            ..
        } = self.config;
        let Some(cancel) = self.held(owner, lease).map(|held| held.cancel) else {
            return Setback::NotHeld;
        };
        let shard = lease.shard;
        let Some(entry) = self.entries.get_mut(&shard) else {
            return Setback::NotHeld;
        };
        entry.errors += 1;
        // Most likely it is the shard, perhaps it is the worker: the next attempt is somebody else's.
        if !entry.avoid.iter().any(|avoided| avoided == owner) {
            if entry.avoid.len() >= MAX_AVOIDED {
                entry.avoid.remove(0);
            }
            entry.avoid.push(owner.to_owned());
        }
        let message = shorten(message).to_owned();
        entry.last = Some((owner.to_owned(), Failure::Error { class, message }));
        let errors = entry.errors;
        let (state, setback) = if cancel {
            (State::Cancelled, Setback::Cancelled)
        } else if class.is_final() || errors >= max_errors {
            (State::Dead, Setback::Dead)
        } else {
            let at = now.saturating_add(backoff.delay(shard, errors));
            (State::RetryAt(at), Setback::RetryAt(at))
        };
        self.move_to(shard, state);
        setback
    }

    /// Gives a shard back unfinished and without blame: the worker is draining, or was told to stop.
    pub fn release(&mut self, owner: &str, lease: LeaseId) -> Setback {
        match self.held(owner, lease).map(|held| held.cancel) {
            None => Setback::NotHeld,
            Some(true) => {
                self.move_to(lease.shard, State::Cancelled);
                Setback::Cancelled
            }
            Some(false) => {
                self.move_to(lease.shard, State::Queued);
                Setback::Requeued
            }
        }
    }

    /// Ends every lease whose deadline has passed: a crash each.
    pub fn reap(&mut self, now: Duration) -> Vec<Expired> {
        let due = self
            .deadlines
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, shard)| *shard)
            .collect();
        self.crash(due)
    }

    /// Ends every lease of a worker that is known to be dead: a crash each.
    pub fn owner_lost(&mut self, owner: &str) -> Vec<Expired> {
        let due = self.leases_of(owner).map(|live| live.lease.shard).collect();
        self.crash(due)
    }

    /// Takes a shard out of the run; true when it is, or will be, cancelled. With a worker it is once the
    /// worker lets go of it: its renewals say so. What is done or dead stays as it is.
    pub fn cancel(&mut self, shard: u64) -> bool {
        match self.entries.get_mut(&shard).map(|entry| &mut entry.state) {
            Some(State::Queued | State::RetryAt(_)) => {
                self.move_to(shard, State::Cancelled);
                true
            }
            Some(State::Leased(held)) => {
                held.cancel = true;
                true
            }
            Some(State::Cancelled) => true,
            Some(State::Done | State::Dead) | None => false,
        }
    }

    /// Lets a lease run out now: the next [`reap`](Self::reap) ends it, unless it is renewed before. False when the shard
    /// is not leased.
    pub fn expire(&mut self, shard: u64) -> bool {
        let Some(State::Leased(held)) = self.entries.get_mut(&shard).map(|entry| &mut entry.state)
        else {
            return false;
        };
        let old = std::mem::replace(&mut held.deadline, Duration::ZERO);
        self.deadlines.remove(&(old, shard));
        self.deadlines.insert((Duration::ZERO, shard));
        true
    }

    /// Offers a dead shard again, its counters at zero; false when it is not dead.
    pub fn revive(&mut self, shard: u64) -> bool {
        if !self.dead.contains(&shard) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&shard) {
            entry.errors = 0;
            entry.crashes = 0;
        }
        self.move_to(shard, State::Queued);
        true
    }

    /// Stops or starts giving out shards; leases go on.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What is asked of the workers for this shard.
    pub fn payload(&self, shard: u64) -> Option<&P> {
        self.entries.get(&shard).map(|entry| &entry.payload)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            queued: self.queued.iter().map(BTreeSet::len).sum::<usize>() as u64,
            leased: self.deadlines.len() as u64,
            retrying: self.retries.len() as u64,
            done: self.done,
            dead: self.dead.len() as u64,
            cancelled: self.cancelled,
        }
    }

    /// When something next happens by itself: a lease runs out, or a retry is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let lease = self.deadlines.first();
        let retry = self.retries.first().filter(|_| !self.paused);
        lease.into_iter().chain(retry).map(|(time, _)| *time).min()
    }

    /// The shards given up, by number.
    pub fn dead_letters(&self) -> impl Iterator<Item = DeadLetter> {
        self.dead
            .iter()
            .filter_map(|shard| self.dead_letter(*shard))
    }

    /// Why this shard was given up, if it was.
    pub fn dead_letter(&self, shard: u64) -> Option<DeadLetter> {
        let entry = self.entries.get(&shard)?;
        let (worker, failure) = match (&entry.state, &entry.last) {
            (State::Dead, Some(last)) => last.clone(),
            _ => return None,
        };
        Some(DeadLetter {
            shard,
            errors: entry.errors,
            crashes: entry.crashes,
            worker,
            failure,
        })
    }

    /// The live leases of a worker, soonest deadline first.
    pub fn leases_of(&self, owner: &str) -> impl Iterator<Item = LiveLease> {
        self.deadlines.iter().filter_map(move |(_, shard)| {
            let State::Leased(held) = &self.entries.get(shard)?.state else {
                return None;
            };
            (held.owner == owner).then_some(LiveLease {
                lease: LeaseId {
                    shard: *shard,
                    epoch: held.epoch,
                },
                since: held.since,
                deadline: held.deadline,
                progress: held.progress.clone(),
            })
        })
    }

    /// True when the shard avoids `owner` and somebody else is there for it.
    fn is_for_another(&self, shard: u64, owner: &str, peers: &[&str]) -> bool {
        let avoided = |name: &str| {
            let entry = self.entries.get(&shard);
            entry.is_some_and(|entry| entry.avoid.iter().any(|avoided| avoided == name))
        };
        avoided(owner) && peers.iter().any(|peer| !avoided(peer))
    }

    fn held(&mut self, owner: &str, lease: LeaseId) -> Option<&mut ActiveLease> {
        match &mut self.entries.get_mut(&lease.shard)?.state {
            State::Leased(held) if held.owner == owner && held.epoch == lease.epoch => Some(held),
            _ => None,
        }
    }

    fn queue_due(&mut self, now: Duration) {
        while let Some((at, shard)) = self.retries.first().copied()
            && at <= now
        {
            self.move_to(shard, State::Queued);
        }
    }

    fn crash(&mut self, shards: Vec<u64>) -> Vec<Expired> {
        let max_crashes = self.config.max_crashes;
        let mut expired = Vec::with_capacity(shards.len());
        for shard in shards {
            let Some(entry) = self.entries.get_mut(&shard) else {
                continue;
            };
            let State::Leased(held) = &entry.state else {
                continue;
            };
            let (owner, epoch, cancel) = (held.owner.clone(), held.epoch, held.cancel);
            entry.crashes += 1;
            entry.last = Some((owner.clone(), Failure::Crash));
            let (state, setback) = if cancel {
                (State::Cancelled, Setback::Cancelled)
            } else if entry.crashes >= max_crashes {
                (State::Dead, Setback::Dead)
            } else {
                (State::Queued, Setback::Requeued)
            };
            self.move_to(shard, state);
            expired.push(Expired {
                lease: LeaseId { shard, epoch },
                owner,
                setback,
            });
        }
        expired
    }

    /// The one place where a shard changes its state: keeps the indices in step.
    fn move_to(&mut self, shard: u64, state: State) {
        let Some(entry) = self.entries.get_mut(&shard) else {
            return;
        };
        match &entry.state {
            State::Queued => {
                self.queued[entry.priority.index()].remove(&(entry.sequence, shard));
            }
            State::Leased(held) => {
                self.deadlines.remove(&(held.deadline, shard));
            }
            State::RetryAt(at) => {
                self.retries.remove(&(*at, shard));
            }
            State::Dead => {
                self.dead.remove(&shard);
            }
            State::Done | State::Cancelled => {
                debug_assert!(false, "shard {shard} left a final state")
            }
        }
        match &state {
            State::Queued => {
                // Behind the others.
                entry.sequence = self.next_sequence;
                self.next_sequence += 1;
                self.queued[entry.priority.index()].insert((entry.sequence, shard));
            }
            State::Leased(held) => {
                debug_assert!(
                    matches!(entry.state, State::Queued),
                    "two leases of shard {shard}"
                );
                self.deadlines.insert((held.deadline, shard));
            }
            State::RetryAt(at) => {
                self.retries.insert((*at, shard));
            }
            State::Dead => {
                self.dead.insert(shard);
            }
            State::Done => self.done += 1,
            State::Cancelled => self.cancelled += 1,
        }
        entry.state = state;
    }
}
