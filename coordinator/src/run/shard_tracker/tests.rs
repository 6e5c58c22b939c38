use anofpdm_common::queue::broker::{Broker, MonotonicClock};
use anofpdm_common::queue::{Claim, ErrorClass, Event, Judge, LeaseConfig, LeaseId, Take, Verdict};
use anofpdm_common::spec::RunSpec;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::work::{Stage, WorkerInfo};

use super::super::active_plan::Current;
use super::super::verification::tests::{forward, profile};
use super::*;
use crate::ledger::Entry;
use crate::ledger::journal::RunJournal;
use crate::run_folder::RunFolder;

const SPEC: &str = "name = \"x\"\n[data]\nstore = \"s\"\n[model.guided]\npreset = \"paper\"\n\
    [model.guided.train]\n[score]\nmethods = [\"anofpdm-ddim\"]\nguidance = [2]\n";

/// Lets everybody in and decides nothing.
struct Open;

impl Judge for Open {
    fn admit(&mut self, _: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }
    fn judge(&mut self, _: Claim<'_>) -> Verdict {
        Verdict::Accept
    }
    fn notice(&mut self, _: Event) {}
}

struct Rig {
    _dir: tempfile::TempDir,
    broker: Broker,
    judge: ResultCommitter,
    tracker: ShardTracker,
    places: Places,
}

impl Rig {
    fn new(audit: f64, workers: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), &RunSpec::parse(SPEC).unwrap()).unwrap();
        let journal = RunJournal::open(&folder).unwrap();
        let artifacts = ArtifactStore::open(&folder.records()).unwrap();
        let mut judge = ResultCommitter::new(journal, artifacts, None);
        let plan = forward();
        let mut places = Places::new();
        for (batch, cells) in (0..).zip(plan.record_keys().unwrap()) {
            places.extend((0..).zip(cells).map(|(cell, key)| (key, (batch, cell))));
        }
        judge.current = Current::Forward(Digest::of(b"plan"), Box::new(plan), 4);
        let clock = Box::new(MonotonicClock::start());
        let mut broker = Broker::new(LeaseConfig::default(), clock);
        for worker in workers {
            broker.register(&info(worker), &mut Open).unwrap();
        }
        let rules = TrackerRules {
            audit,
            patience: Duration::ZERO,
        };
        Self {
            _dir: dir,
            broker,
            judge,
            tracker: ShardTracker::new(rules),
            places,
        }
    }

    fn submit(&mut self, first: u32, count: u32) -> u64 {
        let work = Purpose::Work;
        self.tracker
            .submit(
                &mut self.broker,
                shard(first, count),
                work,
                count,
                Vec::new(),
            )
            .unwrap()
    }

    fn take(&mut self, worker: &str) -> Option<(LeaseId, Job)> {
        let Take::Leased(lease) = self.broker.take(worker, &mut Open) else {
            return None;
        };
        self.follow(ShardEvent::Begun {
            lease: lease.id,
            worker: worker.to_owned(),
        })
        .unwrap();
        Some((lease.id, lease.job))
    }

    fn accepted(&mut self, worker: &str, lease: LeaseId) {
        let completion = anofpdm_common::work::Completion {
            manifest: Digest::of(b"manifest"),
            evaluations: 1,
            padding: 0,
            device_millis: 1,
        };
        self.broker.complete(worker, lease, &completion, &mut Open);
        self.follow(ShardEvent::Accepted {
            lease,
            evaluations: 1,
            device_millis: 1,
        })
        .unwrap();
    }

    fn follow(&mut self, events: ShardEvent) -> Result<(), FlightError> {
        let workers = self.broker.workers().unwrap();
        let (judge, queue) = (&mut self.judge, &mut self.broker);
        self.tracker
            .follow(events, judge, queue, &workers, &self.places)
    }

    /// A delivery in the journal, and what follows from it.
    fn delivered(&mut self, worker: &str, epoch: u64, key: Digest, record: &str) {
        let entry = Entry::Delivered {
            stage: Stage::Score,
            records: vec![(key, Digest::of(record.as_bytes()))],
            evaluations: 1,
            padding: 0,
            device_millis: 1,
            worker: worker.to_owned(),
            lease: LeaseId { shard: 90, epoch },
            audit: false,
        };
        let applied = self.judge.journal.append(&entry).unwrap();
        if !applied.contested.is_empty() {
            let (keys, by) = (applied.contested, worker.to_owned());
            self.follow(ShardEvent::Contested { keys, by }).unwrap();
        }
    }
}

fn info(worker: &str) -> WorkerInfo {
    WorkerInfo {
        worker: worker.to_owned(),
        host: "host".to_owned(),
        pid: 1,
        profile: profile(),
        memory_bytes: 0,
        version: "0".to_owned(),
    }
}

fn shard(first: u32, count: u32) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches {
            first,
            count,
            cells: vec![0, 1],
        },
    }
}

#[test]
fn a_straggler_is_copied_to_an_idle_worker_and_the_slower_one_is_called_off() {
    let mut rig = Rig::new(0.0, &["a", "b"]);
    rig.submit(0, 1);
    let (warm_up, _) = rig.take("b").unwrap();
    rig.accepted("b", warm_up);

    let number = rig.submit(1, 1);
    let (slow, job) = rig.take("a").unwrap();
    assert_eq!(slow.shard, number);
    std::thread::sleep(Duration::from_millis(10));
    let workers = rig.broker.workers().unwrap();
    for _ in 0..2 {
        rig.tracker
            .copy_stragglers(&mut rig.broker, &workers)
            .unwrap();
    }
    assert_eq!(rig.broker.counts().unwrap().queued, 1, "one copy, once");
    let (copy, same) = rig.take("b").unwrap();
    assert_eq!(same, job);
    rig.accepted("b", copy);
    assert!(
        matches!(
            rig.broker.renew("a", slow, 1.into()),
            anofpdm_common::queue::Renewal::Held { cancel: true }
        ),
        "the original is called off"
    );
    rig.broker.hand_back("a", slow, &mut Open);
    assert_eq!(rig.broker.counts().unwrap().outstanding(), 0);
    assert!(rig.tracker.purpose(number).is_none());
}

#[test]
fn nobody_is_asked_for_a_copy_while_everybody_works() {
    let mut rig = Rig::new(0.0, &["a", "b"]);
    rig.submit(0, 1);
    let (warm_up, _) = rig.take("b").unwrap();
    rig.accepted("b", warm_up);
    rig.submit(0, 1);
    rig.submit(1, 1);
    rig.take("a").unwrap();
    rig.take("b").unwrap();
    std::thread::sleep(Duration::from_millis(10));
    let workers = rig.broker.workers().unwrap();
    rig.tracker
        .copy_stragglers(&mut rig.broker, &workers)
        .unwrap();
    assert_eq!(rig.broker.counts().unwrap().queued, 0);
}

#[test]
fn a_shard_that_does_not_fit_is_cut_in_two_of_the_same_batches() {
    let mut rig = Rig::new(0.0, &["a"]);
    let number = rig.submit(0, 3);
    let (lease, _) = rig.take("a").unwrap();
    let oom = ErrorClass::OutOfMemory;
    rig.broker.fail("a", lease, oom, "too large", &mut Open);
    rig.follow(ShardEvent::OutOfMemory(lease)).unwrap();
    assert!(rig.tracker.purpose(number).is_none());
    let mut batches = Vec::new();
    while let Some((lease, job)) = rig.take("a") {
        let Task::Batches {
            first,
            count,
            cells,
        } = job.task
        else {
            panic!("a shard of batches")
        };
        assert_eq!(cells, [0, 1]);
        batches.extend(first..first + count);
        rig.accepted("a", lease);
    }
    assert_eq!(batches, [0, 1, 2]);

    // A single batch stays what it is, and is tried again elsewhere.
    let number = rig.submit(0, 1);
    let (lease, _) = rig.take("a").unwrap();
    rig.broker.fail("a", lease, oom, "too large", &mut Open);
    rig.follow(ShardEvent::OutOfMemory(lease)).unwrap();
    assert!(rig.tracker.purpose(number).is_some());
    assert_eq!(rig.broker.counts().unwrap().retrying, 1);
}

#[test]
fn an_audit_is_another_workers_work_and_is_not_audited() {
    let mut rig = Rig::new(1.0, &["a", "b"]);
    rig.submit(0, 2);
    let (lease, job) = rig.take("a").unwrap();
    rig.accepted("a", lease);
    assert!(rig.take("a").is_none(), "not the one whose work it checks");
    let (audit, same) = rig.take("b").unwrap();
    assert_eq!(same, job);
    assert!(rig.judge.audits.contains(&audit.shard));
    rig.accepted("b", audit);
    assert_eq!(rig.broker.counts().unwrap().outstanding(), 0);

    let mut alone = Rig::new(1.0, &["a"]);
    alone.submit(0, 2);
    let (lease, _) = alone.take("a").unwrap();
    alone.accepted("a", lease);
    assert_eq!(alone.broker.counts().unwrap().outstanding(), 0);
}

#[test]
fn a_share_of_the_shards_is_audited() {
    let audited = |share| {
        let mut rig = Rig::new(share, &[]);
        let mut plan = forward();
        let batch = plan.batches[0].clone();
        plan.batches = (0..1_000)
            .map(|number| {
                let mut batch = batch.clone();
                batch[0].position = number;
                batch
            })
            .collect();
        rig.judge.current = Current::Forward(Digest::of(b"plan"), Box::new(plan), 4);
        (0..1_000)
            .filter(|first| rig.tracker.is_audited(&shard(*first, 1), &rig.judge))
            .count()
    };
    let some = audited(0.1);
    assert!((60..140).contains(&some), "{some} of 1000");
    assert_eq!((audited(0.0), audited(1.0)), (0, 1_000));
}

#[test]
fn who_disagrees_waits_for_a_third() {
    let mut rig = Rig::new(0.0, &["a", "b"]);
    let (key, _) = rig
        .places
        .iter()
        .find(|(_, place)| **place == (1, 0))
        .unwrap();
    let key = *key;
    rig.delivered("a", 1, key, "x");
    rig.delivered("b", 2, key, "y");
    // Once, one of the two may correct itself.
    let (lease, job) = rig.take("b").unwrap();
    let Task::Batches {
        first,
        count,
        cells,
    } = job.task
    else {
        panic!("a shard of batches")
    };
    assert_eq!((first, count, cells), (1, 1, vec![0]));
    rig.accepted("b", lease);
    rig.delivered("b", 3, key, "y");
    assert!(rig.tracker.is_waiting());
    assert_eq!(rig.broker.counts().unwrap().outstanding(), 0);

    let ask = |rig: &mut Rig| {
        let workers = rig.broker.workers().unwrap();
        rig.tracker
            .ask_newcomers(&rig.judge, &mut rig.broker, &workers, &rig.places)
            .unwrap();
    };
    ask(&mut rig);
    assert!(rig.tracker.is_waiting(), "nobody new is there");
    rig.broker.register(&info("c"), &mut Open).unwrap();
    ask(&mut rig);
    assert!(!rig.tracker.is_waiting());
    assert!(rig.take("a").is_none() && rig.take("b").is_none());
    let (lease, _) = rig.take("c").unwrap();
    rig.accepted("c", lease);
    rig.delivered("c", 4, key, "y");
    assert_eq!(rig.judge.journal.ledger().suspects(), ["a"]);
}
