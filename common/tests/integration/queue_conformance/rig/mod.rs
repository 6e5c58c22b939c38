//! What the conformance suite runs on: a dispatcher on a thread, a handler that notes everything, and the
//! drivers under test.

mod drivers;
pub(crate) mod lease_rules;
pub(crate) mod silence;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anofpdm_common::backoff::Backoff;
use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, Completion, Job, NumericProfile, Stage, Task, WorkerInfo};
use anofpdm_common::queue::{
    Claim, Counts, Dispatch, Event, Lease, LeaseConfig, QueueHandler, Setback, Submission, Take,
    Verdict, WorkQueue,
};

pub(crate) use drivers::{InProcess, Redis, UnixSocket};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver under test.
pub(crate) trait Driver: Sized + Send + 'static {
    /// Short where time is real.
    const TTL: Duration;

    /// Lease of a worker that will die: one that nobody waits for, where the driver sees the death itself.
    const LEASE_OF_THE_LOST: Duration;

    /// The queue, used from one thread.
    type Queue: Dispatch;

    /// Starts a queue; called on the thread that will use it.
    fn start(config: LeaseConfig, handler: &SharedHandler) -> (Self, Self::Queue);

    /// A worker that is not registered yet.
    fn connect(&self, name: &str) -> Box<dyn WorkQueue>;

    /// Lets time pass.
    fn pass(&self, time: Duration);

    /// The worker's process dies.
    fn lose(&self, name: &str, worker: Box<dyn WorkQueue>);
}

/// The handler, shared with a driver that calls it from the worker's side.
pub(crate) type SharedHandler = std::sync::Arc<std::sync::Mutex<Notes>>;

/// A handler that does as it is told and notes what it hears.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) verdict: Verdict,
    pub(crate) refuse: Option<String>,
    pub(crate) claims: Vec<(u64, String)>,
    events: Vec<(String, Setback)>,
}

impl QueueHandler for Notes {
    fn admit(&mut self, _worker: &WorkerInfo) -> Result<(), String> {
        self.refuse.clone().map_or(Ok(()), Err)
    }

    fn commit(&mut self, claim: Claim<'_>) -> Verdict {
        assert_eq!(claim.job, &job(claim.lease.shard));
        assert_eq!(claim.completion, &completion(claim.lease.shard));
        self.claims
            .push((claim.lease.shard, claim.worker.to_owned()));
        self.verdict.clone()
    }

    fn notice(&mut self, event: Event) {
        let (what, worker, setback) = match event {
            Event::Failed {
                worker, setback, ..
            } => ("failed", worker, setback),
            Event::Crashed {
                worker, setback, ..
            } => ("crashed", worker, setback),
            Event::Released {
                worker, setback, ..
            } => ("released", worker, setback),
            Event::WorkerJoined(_) | Event::WorkerLeft(_) | Event::Leased { .. } => return,
        };
        self.events.push((format!("{what} {worker}"), setback));
    }
}

type Order<Q> = Box<dyn FnOnce(&mut Q, &mut Notes) + Send>;

/// A running queue.
pub(crate) struct Rig<D: Driver> {
    driver: D,
    orders: Option<mpsc::Sender<Order<D::Queue>>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Driver> Rig<D> {
    pub(crate) fn start() -> Self {
        Self::with_leases_of(D::TTL)
    }

    pub(crate) fn with_leases_of(ttl: Duration) -> Self {
        Self::with(LeaseConfig {
            ttl,
            backoff: Backoff {
                base: Duration::from_millis(10),
                cap: Duration::from_millis(40),
            },
            ..LeaseConfig::default()
        })
    }

    pub(crate) fn with(config: LeaseConfig) -> Self {
        let handler = SharedHandler::new(std::sync::Mutex::new(Notes {
            verdict: Verdict::Accept,
            refuse: None,
            claims: Vec::new(),
            events: Vec::new(),
        }));
        let (orders, inbox) = mpsc::channel();
        let (started, driver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (driver, mut queue) = D::start(config, &handler);
            started.send(driver).unwrap();
            serve(&mut queue, &handler, &inbox);
        });
        Self {
            driver: driver.recv().unwrap(),
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// Does something on the dispatcher's thread.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        order: impl FnOnce(&mut dyn Dispatch, &mut Notes) -> R + Send + 'static,
    ) -> R {
        let (reply, answer) = mpsc::channel();
        let order: Order<D::Queue> = Box::new(move |queue, notes| {
            reply.send(order(queue, notes)).unwrap();
        });
        self.orders.as_ref().unwrap().send(order).unwrap();
        answer.recv().unwrap()
    }

    pub(crate) fn submit(&self, shards: u64) {
        for shard in 0..shards {
            let submission = Submission::new(shard, job(shard));
            let added = self.ask(move |queue, _| queue.submit(vec![submission]).unwrap());
            assert_eq!(added, 1);
        }
    }

    /// Waits until the coordinator's side has come to know what the workers' did: a driver may tell it later.
    pub(crate) fn counted(&self, what: &str, expected: fn(Counts) -> bool) {
        let begin = Instant::now();
        loop {
            let counts = self.ask(|queue, _| queue.counts().unwrap());
            if expected(counts) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {counts:?}");
        }
    }

    /// What became of the shards in the events of this name ("crashed a"), once there are `count` of them.
    pub(crate) fn events(&self, name: &'static str, count: usize) -> Vec<Setback> {
        let begin = Instant::now();
        loop {
            let seen: Vec<Setback> = self.ask(move |_, notes| {
                let named = notes.events.iter().filter(|(event, _)| event == name);
                named.map(|(_, setback)| *setback).collect()
            });
            if seen.len() == count {
                return seen;
            }
            assert!(begin.elapsed() < PATIENCE, "{name}: {seen:?}");
        }
    }

    /// The claims judged so far, once there are `count` of them.
    pub(crate) fn claims(&self, count: usize) -> Vec<(u64, String)> {
        let begin = Instant::now();
        loop {
            let claims = self.ask(|_, handler| handler.claims.clone());
            if claims.len() == count {
                return claims;
            }
            assert!(begin.elapsed() < PATIENCE, "{claims:?}");
        }
    }

    pub(crate) fn connect(&self, name: &str) -> Box<dyn WorkQueue> {
        self.driver.connect(name)
    }

    /// A registered worker.
    pub(crate) fn worker(&self, name: &str) -> Box<dyn WorkQueue> {
        let worker = self.connect(name);
        worker.register(&info(name)).unwrap();
        worker
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.driver.pass(time);
    }

    pub(crate) fn let_leases_expire(&self) {
        self.pass(D::TTL + D::TTL / 2);
    }

    /// Takes a shard that waits for its retry.
    pub(crate) fn take_after_backoff(&self, worker: &dyn WorkQueue) -> Lease {
        let begin = Instant::now();
        loop {
            match worker.take(Duration::from_millis(100)).unwrap() {
                Take::Leased(lease) => return lease,
                Take::Empty if begin.elapsed() < PATIENCE => {
                    self.pass(Duration::from_millis(40));
                }
                other => panic!("no retry: {other:?}"),
            }
        }
    }

    /// Waits until the dispatcher's thread sees what is expected.
    pub(crate) fn until(&self, what: &str, seen: fn(&mut dyn Dispatch, &mut Notes) -> bool) {
        let begin = Instant::now();
        while !self.ask(seen) {
            assert!(begin.elapsed() < PATIENCE, "{what}: not seen");
        }
    }

    /// Kills a worker and waits until the queue knows.
    pub(crate) fn lose(&self, name: &str, worker: Box<dyn WorkQueue>) {
        self.driver.lose(name, worker);
        let begin = Instant::now();
        loop {
            let name = name.to_owned();
            let known = self.ask(move |queue, _| {
                let workers = queue.workers().unwrap();
                workers.iter().any(|worker| worker.info.worker == name)
            });
            if !known {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the loss went unseen");
        }
    }
}

impl<D: Driver> Drop for Rig<D> {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn serve<Q: Dispatch>(queue: &mut Q, handler: &SharedHandler, inbox: &mpsc::Receiver<Order<Q>>) {
    loop {
        match inbox.recv_timeout(Duration::from_millis(1)) {
            Ok(order) => order(queue, &mut handler.lock().unwrap()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let mut handler = handler.lock().unwrap();
        queue
            .serve(&mut *handler, Duration::from_millis(2))
            .unwrap();
    }
}

pub(crate) fn job(shard: u64) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches(BatchRun {
            first: u32::try_from(shard).unwrap(),
            count: 1,
            cells: vec![0, 3],
        }),
    }
}

pub(crate) fn completion(shard: u64) -> Completion {
    Completion {
        manifest: Digest::of(&shard.to_le_bytes()),
        evaluations: 66,
        padding: 0,
        device_millis: 12,
        millijoules: None,
    }
}

pub(crate) fn info(name: &str) -> WorkerInfo {
    WorkerInfo {
        worker: name.to_owned(),
        host: "here".to_owned(),
        pid: std::process::id(),
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.11.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
        memory_bytes: 8 << 30,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}
