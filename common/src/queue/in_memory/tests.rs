//! The whole queue against random histories: whatever workers, time and coordinator do, no shard is lost, none is
//! finished twice, and done is final.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::ids::Digest;
use crate::plan::{BatchRun, NumericProfile, Stage, Task};
use crate::queue::priority::Priority;

const WORKERS: [&str; 4] = ["a", "b", "c", "d"];
const SHARDS: u64 = 6;

/// A clock that moves when the test says so.
#[derive(Debug, Clone, Default)]
struct TestClock(Arc<Mutex<Duration>>);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn job(shard: u64) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches(BatchRun {
            first: u32::try_from(shard).unwrap(),
            count: 1,
            cells: vec![0],
        }),
    }
}

fn completion() -> Completion {
    Completion {
        manifest: Digest::of(b"manifest"),
        evaluations: 1,
        padding: 0,
        device_millis: 1,
        millijoules: None,
    }
}

fn info(name: &str) -> WorkerInfo {
    WorkerInfo {
        worker: name.to_owned(),
        host: "here".to_owned(),
        pid: 1,
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.11.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
        memory_bytes: 0,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(u64, Priority, Option<usize>),
    Register(usize),
    Take(usize),
    Renew(usize, usize),
    Complete(usize, usize, Verdict),
    Fail(usize, usize, ErrorClass),
    Release(usize, usize),
    Leave(usize),
    Die(usize),
    Retire(usize),
    Cancel(u64),
    Revive(u64),
    Pause(bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..WORKERS.len();
    let lease = 0..12_usize;
    let class = prop_oneof![
        4 => Just(ErrorClass::Transient),
        1 => Just(ErrorClass::DeviceLost),
        1 => Just(ErrorClass::BadInput),
    ];
    let verdict = prop_oneof![
        3 => Just(Verdict::Accept),
        1 => Just(Verdict::Reject("not finite".to_owned())),
        1 => Just(Verdict::Undecided),
    ];
    let priority = prop_oneof![
        Just(Priority::Urgent),
        Just(Priority::Normal),
        Just(Priority::Background)
    ];
    let held = || (worker.clone(), lease.clone());
    prop_oneof![
        4 => (0..SHARDS, priority, proptest::option::of(worker.clone()))
            .prop_map(|(s, l, a)| Step::Submit(s, l, a)),
        4 => worker.clone().prop_map(Step::Register),
        9 => worker.clone().prop_map(Step::Take),
        3 => held().prop_map(|(w, l)| Step::Renew(w, l)),
        4 => (held(), verdict).prop_map(|((w, l), v)| Step::Complete(w, l, v)),
        3 => (held(), class).prop_map(|((w, l), c)| Step::Fail(w, l, c)),
        1 => held().prop_map(|(w, l)| Step::Release(w, l)),
        1 => worker.clone().prop_map(Step::Leave),
        1 => worker.clone().prop_map(Step::Die),
        1 => worker.prop_map(Step::Retire),
        1 => (0..SHARDS).prop_map(Step::Cancel),
        1 => (0..SHARDS).prop_map(Step::Revive),
        1 => any::<bool>().prop_map(Step::Pause),
        4 => (0..90_u64).prop_map(Step::Wait),
    ]
}

/// The coordinator's side of the conversation: what it hears, and what it therefore knows.
#[derive(Debug, Default)]
struct Observer {
    /// Its next verdict.
    verdict: Option<Verdict>,
    workers: BTreeSet<String>,
    /// Of each shard the lease that is live, and whose it is.
    live: BTreeMap<u64, (LeaseId, String)>,
    given: Vec<LeaseId>,
    /// Shards that are done, and how often they became so.
    firsts: BTreeMap<u64, u64>,
    /// Cancelled as soon as their holders let go.
    cancelling: BTreeSet<u64>,
    cancelled: BTreeSet<u64>,
    dead: BTreeSet<u64>,
}

impl QueueHandler for Observer {
    fn admit(&mut self, worker: &WorkerInfo) -> Result<(), String> {
        match worker.worker.as_str() {
            "d" if self.workers.is_empty() => Err("not as the first".to_owned()),
            _ => Ok(()),
        }
    }

    fn commit(&mut self, claim: Claim<'_>) -> Verdict {
        let shard = claim.lease.shard;
        assert_eq!(claim.job, &job(shard), "a claim with another shard's job");
        self.verdict.clone().unwrap_or(Verdict::Accept)
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::WorkerJoined(info) => assert!(self.workers.insert(info.worker)),
            Event::WorkerLeft(info) => assert!(self.workers.remove(&info.worker)),
            Event::Leased { lease, worker } => {
                let shard = lease.shard;
                assert!(!self.live.contains_key(&shard), "two leases of {shard}");
                assert!(!self.firsts.contains_key(&shard), "done is final");
                assert!(!self.cancelled.contains(&shard), "cancelled is final");
                assert!(!self.dead.contains(&shard), "given up");
                let newest = self.given.last().map_or(0, |last| last.epoch);
                assert!(lease.epoch > newest, "an epoch again");
                self.given.push(lease);
                self.live.insert(shard, (lease, worker));
            }
            Event::Failed {
                lease,
                worker,
                setback,
                ..
            } => {
                // An error of one who has lost the lease is told, and changes nothing.
                if setback == Setback::NotHeld {
                    assert_ne!(self.live.get(&lease.shard), Some(&(lease, worker)));
                } else {
                    self.ended(lease, &worker, setback);
                }
            }
            Event::Crashed {
                lease,
                worker,
                setback,
            }
            | Event::Released {
                lease,
                worker,
                setback,
            } => self.ended(lease, &worker, setback),
        }
    }
}

impl Observer {
    /// A lease has ended without a result.
    fn ended(&mut self, lease: LeaseId, worker: &str, setback: Setback) {
        let live = self.live.remove(&lease.shard);
        assert_eq!(live, Some((lease, worker.to_owned())), "not its lease");
        match setback {
            Setback::Dead => assert!(self.dead.insert(lease.shard)),
            Setback::Cancelled => {
                assert!(self.cancelling.remove(&lease.shard), "nobody cancelled it");
                self.cancelled.insert(lease.shard);
            }
            Setback::Requeued | Setback::RetryAt(_) => {}
            Setback::NotHeld => panic!("the end of a lease that nobody holds"),
        }
    }

    fn holds(&self, worker: &str, lease: LeaseId) -> bool {
        self.live.get(&lease.shard) == Some(&(lease, worker.to_owned()))
    }

    fn lease(&self, index: usize) -> LeaseId {
        let newest_first = self.given.iter().rev().nth(index);
        newest_first
            .copied()
            .unwrap_or(LeaseId { shard: 0, epoch: 0 })
    }
}

/// A queue, its clock and its observer.
struct World {
    queue: InMemoryQueue,
    clock: TestClock,
    observer: Observer,
    submitted: BTreeSet<u64>,
    retired: BTreeSet<String>,
    paused: bool,
}

impl World {
    fn new() -> Self {
        let clock = TestClock::default();
        Self {
            queue: InMemoryQueue::new(LeaseConfig::default(), Box::new(clock.clone())),
            clock,
            observer: Observer::default(),
            submitted: BTreeSet::new(),
            retired: BTreeSet::new(),
            paused: false,
        }
    }

    fn apply(&mut self, step: Step) {
        let (queue, observer) = (&mut self.queue, &mut self.observer);
        match step {
            Step::Submit(shard, priority, avoid) => {
                let submission = Submission {
                    priority,
                    avoid: avoid
                        .map(|worker| WORKERS[worker].to_owned())
                        .into_iter()
                        .collect(),
                    ..Submission::new(shard, job(shard))
                };
                let added = queue.submit(vec![submission]).unwrap();
                assert_eq!(added == 1, self.submitted.insert(shard));
            }
            Step::Register(worker) => {
                let before = observer.workers.len();
                let registered = queue.register(&info(WORKERS[worker]), observer);
                assert_eq!(registered.is_ok(), observer.workers.len() == before + 1);
            }
            Step::Take(worker) => self.take(WORKERS[worker]),
            Step::Renew(worker, index) => {
                let lease = observer.lease(index);
                let held = observer.holds(WORKERS[worker], lease);
                let renewal = queue.renew(WORKERS[worker], lease, Progress::from(1));
                assert_eq!(renewal != Renewal::Lost, held);
            }
            Step::Complete(worker, index, verdict) => {
                let lease = observer.lease(index);
                self.complete(WORKERS[worker], lease, verdict);
            }
            Step::Fail(worker, index, class) => {
                let lease = observer.lease(index);
                queue.fail(WORKERS[worker], lease, class, "no", observer);
                assert!(!observer.holds(WORKERS[worker], lease));
            }
            Step::Release(worker, index) => {
                let lease = observer.lease(index);
                queue.release(WORKERS[worker], lease, observer);
                assert!(!observer.holds(WORKERS[worker], lease));
            }
            Step::Leave(worker) => {
                queue.leave(WORKERS[worker], observer);
                self.is_gone(WORKERS[worker]);
            }
            Step::Die(worker) => {
                queue.gone(WORKERS[worker], observer);
                self.is_gone(WORKERS[worker]);
            }
            Step::Retire(worker) => {
                let worker = WORKERS[worker];
                queue.retire(worker, "its bits differ").unwrap();
                queue.advance(observer);
                if observer.workers.contains(worker) {
                    self.retired.insert(worker.to_owned());
                    self.take_back(worker);
                }
            }
            Step::Cancel(shard) => self.cancel(shard),
            Step::Revive(shard) => {
                assert_eq!(queue.revive(shard).unwrap(), observer.dead.remove(&shard));
            }
            Step::Pause(paused) => {
                queue.set_paused(paused).unwrap();
                self.paused = paused;
            }
            Step::Wait(seconds) => {
                *self.clock.0.lock().unwrap() += Duration::from_secs(seconds);
                queue.advance(observer);
            }
        }
    }

    fn take(&mut self, worker: &str) {
        let observer = &mut self.observer;
        let known = observer.workers.contains(worker);
        match self.queue.take(worker, observer) {
            Take::Leased(lease) => {
                assert!(known && !self.paused && !self.retired.contains(worker));
                assert_eq!(lease.job, job(lease.id.shard));
                assert!(observer.holds(worker, lease.id), "an untold lease");
            }
            Take::Retired(_) => assert!(self.retired.contains(worker)),
            Take::Drain => assert!(!known),
            Take::Empty => assert!(known),
            Take::Finished => panic!("nobody has said that this is all"),
        }
    }

    /// A result. It is the first where the queue counts one shard more as done.
    fn complete(&mut self, worker: &str, lease: LeaseId, verdict: Verdict) {
        let shard = lease.shard;
        let observer = &mut self.observer;
        let wanted = self.submitted.contains(&shard)
            && !observer.cancelled.contains(&shard)
            && !observer.firsts.contains_key(&shard);
        let accepted = verdict == Verdict::Accept;
        observer.verdict = Some(verdict);
        let before = self.queue.counts().unwrap().done;
        self.queue.complete(worker, lease, &completion(), observer);
        let firsts = self.queue.counts().unwrap().done - before;
        assert_eq!(firsts, u64::from(accepted && wanted));
        if firsts > 0 {
            *observer.firsts.entry(shard).or_default() += firsts;
            observer.dead.remove(&shard);
            observer.cancelling.remove(&shard);
            observer.live.remove(&shard);
        }
    }

    fn cancel(&mut self, shard: u64) {
        let observer = &mut self.observer;
        let is_over = observer.firsts.contains_key(&shard) || observer.dead.contains(&shard);
        let possible = self.submitted.contains(&shard) && !is_over;
        assert_eq!(self.queue.cancel(shard).unwrap(), possible);
        if !possible {
            return;
        }
        if observer.live.contains_key(&shard) {
            observer.cancelling.insert(shard);
        } else {
            observer.cancelled.insert(shard);
        }
    }

    /// What a retired worker held went back. Nobody is told: the coordinator did it.
    fn take_back(&mut self, worker: &str) {
        let observer = &mut self.observer;
        let held = observer
            .live
            .iter()
            .filter(|(_, (_, holder))| holder == worker);
        let shards: Vec<u64> = held.map(|(shard, _)| *shard).collect();
        for shard in shards {
            observer.live.remove(&shard);
            if observer.cancelling.remove(&shard) {
                observer.cancelled.insert(shard);
            }
        }
    }

    fn is_gone(&mut self, worker: &str) {
        self.retired.remove(worker);
        let observer = &self.observer;
        assert!(!observer.workers.contains(worker));
        assert!(observer.live.values().all(|(_, holder)| holder != worker));
    }

    fn check(&self) {
        let observer = &self.observer;
        let counts = self.queue.counts().unwrap();
        let all = counts.outstanding() + counts.done + counts.dead + counts.cancelled;
        assert_eq!(
            all,
            self.submitted.len() as u64,
            "a shard is lost: {counts:?}"
        );
        assert_eq!(counts.leased, observer.live.len() as u64);
        assert_eq!(counts.done, observer.firsts.len() as u64);
        assert_eq!(counts.dead, observer.dead.len() as u64);
        assert_eq!(counts.cancelled, observer.cancelled.len() as u64);
        assert!(
            observer.firsts.values().all(|firsts| *firsts == 1),
            "two firsts"
        );
        for letter in self.queue.dead_letters().unwrap() {
            assert!(observer.dead.contains(&letter.shard));
            assert!(letter.errors <= 3 && letter.crashes <= 3, "{letter:?}");
        }
        let status = self.queue.workers().unwrap();
        let names: BTreeSet<String> = status.iter().map(|it| it.info.worker.clone()).collect();
        assert_eq!(names, observer.workers);
        for worker in status {
            for live in worker.leases {
                assert!(observer.holds(&worker.info.worker, live.lease));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_shard_is_lost_or_finished_twice(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.apply(step);
            world.check();
        }

        // After the trouble all who are left go, and one good worker finishes what is still wanted.
        for worker in 0..WORKERS.len() {
            world.apply(Step::Die(worker));
        }
        world.apply(Step::Pause(false));
        world.apply(Step::Wait(10_000));
        world.queue.finish().unwrap();
        let good = "good";
        world.queue.register(&info(good), &mut world.observer).unwrap();
        loop {
            match world.queue.take(good, &mut world.observer) {
                Take::Leased(lease) => world.complete(good, lease.id, Verdict::Accept),
                Take::Finished => break,
                other => panic!("work is left, and the answer is {other:?}"),
            }
            world.check();
        }
        let counts = world.queue.counts().unwrap();
        prop_assert_eq!(counts.outstanding(), 0);
        let ended = counts.done + counts.dead + counts.cancelled;
        prop_assert_eq!(ended, world.submitted.len() as u64);
    }

    #[test]
    fn a_shard_that_avoids_a_worker_is_not_given_to_it_while_there_is_another(
        avoided in proptest::collection::vec(0..WORKERS.len(), 0..4),
        there in proptest::collection::btree_set(0..WORKERS.len(), 1..4),
        retired in proptest::option::of(0..WORKERS.len()),
        taker in 0..WORKERS.len(),
    ) {
        let mut world = World::new();
        let mut handler = Observer::default();
        handler.workers.insert("somebody".to_owned());
        for worker in &there {
            world.queue.register(&info(WORKERS[*worker]), &mut handler).unwrap();
        }
        if let Some(worker) = retired {
            world.queue.retire(WORKERS[worker], "its bits differ").unwrap();
        }
        let avoid = avoided.iter().map(|worker| WORKERS[*worker].to_owned()).collect();
        let submission = Submission { avoid, ..Submission::new(0, job(0)) };
        world.queue.submit(vec![submission]).unwrap();
        let mut others = there.iter().filter(|worker| Some(**worker) != retired);
        let another_is_there = others.any(|worker| !avoided.contains(worker));
        let may = there.contains(&taker)
            && Some(taker) != retired
            && !(avoided.contains(&taker) && another_is_there);
        let taken = world.queue.take(WORKERS[taker], &mut handler);
        prop_assert_eq!(matches!(taken, Take::Leased(_)), may);
    }
}
