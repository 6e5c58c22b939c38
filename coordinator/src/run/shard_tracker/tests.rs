use std::sync::Arc;

use anofpdm_common::plan::{ForwardPlan, Stage, WorkerInfo};
use anofpdm_common::queue::{LeaseId, LiveLease};

use super::super::shard_event::Ending;
use super::super::verification::tests::{forward, profile};
use super::*;
use crate::ledger::Entry;

const SECOND: Duration = Duration::from_secs(1);

/// A tracker with a plan, a ledger and workers, and no queue.
struct Fixture {
    tracker: ShardTracker,
    active: ActivePlan,
    ledger: Ledger,
    workers: Vec<WorkerStatus>,
    now: Instant,
}

impl Fixture {
    fn new(audit: f64, workers: &[&str]) -> Self {
        Self {
            tracker: ShardTracker::new(TrackerRules {
                audit,
                patience: SECOND,
            }),
            active: active(forward()),
            ledger: Ledger::default(),
            workers: workers.iter().map(|name| worker(name)).collect(),
            now: Instant::now(),
        }
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut ShardTracker, &Context<'_>) -> T) -> T {
        let context = Context {
            active: &self.active,
            ledger: &self.ledger,
            workers: &self.workers,
            now: self.now,
        };
        ask(&mut self.tracker, &context)
    }

    fn event(&mut self, event: ShardEvent) -> Vec<Command> {
        self.ask(|tracker, context| tracker.on_event(event, context))
            .unwrap()
    }

    fn submit(&mut self, first: u32, count: u32) -> u64 {
        let job = job(first, count);
        self.tracker.register(job, Purpose::Work, count).shard
    }

    fn begin(&mut self, name: &str, shard: u64) {
        let commands = self.event(ShardEvent::Begun {
            lease: lease(shard),
            worker: name.to_owned(),
        });
        assert_eq!(commands, []);
        let holder = self.workers.iter_mut().find(|w| w.info.worker == name);
        holder.unwrap().leases.push(LiveLease {
            lease: lease(shard),
            since: Duration::ZERO,
            deadline: SECOND,
            progress: 0.into(),
        });
    }

    /// A result of `shard` counts, after a millisecond of work for an evaluation.
    fn accept(&mut self, shard: u64) -> Vec<Command> {
        for worker in &mut self.workers {
            worker.leases.retain(|lease| lease.lease.shard != shard);
        }
        self.event(ShardEvent::Accepted {
            lease: lease(shard),
            evaluations: 1,
            device_millis: 1,
        })
    }

    /// A delivery in the journal, and what follows from it.
    fn deliver(&mut self, worker: &str, epoch: u64, key: Digest, record: &str) -> Vec<Command> {
        let applied = self.ledger.apply(&Entry::Delivered {
            stage: Stage::Score,
            records: vec![(key, Digest::of(record.as_bytes()))],
            evaluations: 1,
            padding: 0,
            device_millis: 1,
            worker: worker.to_owned(),
            lease: LeaseId { shard: 90, epoch },
            audit: false,
        });
        if applied.contested.is_empty() {
            return Vec::new();
        }
        self.event(ShardEvent::Contested {
            keys: applied.contested,
            by: worker.to_owned(),
        })
    }

    fn ask_newcomers(&mut self) -> Vec<Command> {
        self.ask(ShardTracker::ask_newcomers).unwrap()
    }

    fn copy_stragglers(&mut self) -> Vec<Command> {
        self.ask(|tracker, context| tracker.copy_stragglers(context))
    }
}

fn active(plan: ForwardPlan) -> ActivePlan {
    let active = ActiveForward::new(Digest::of(b"plan"), plan, 4).unwrap();
    ActivePlan::Forward(Arc::new(active))
}

fn worker(name: &str) -> WorkerStatus {
    WorkerStatus {
        info: WorkerInfo {
            worker: name.to_owned(),
            host: "host".to_owned(),
            pid: 1,
            profile: profile(),
            memory_bytes: 0,
            version: "0".to_owned(),
            metrics: None,
        },
        heard: Duration::ZERO,
        leases: Vec::new(),
    }
}

const fn lease(shard: u64) -> LeaseId {
    LeaseId { shard, epoch: 1 }
}

fn run(first: u32, count: u32, cells: &[u16]) -> Task {
    Task::Batches(BatchRun {
        first,
        count,
        cells: cells.to_vec(),
    })
}

fn job(first: u32, count: u32) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: run(first, count, &[0, 1]),
    }
}

/// The shards that are submitted, and nothing else.
fn submitted(commands: Vec<Command>) -> Vec<Submission> {
    let submission = |command| match command {
        Command::Submit(submission) => submission,
        other => panic!("{other:?}"),
    };
    commands.into_iter().map(submission).collect()
}

#[test]
fn a_straggler_is_copied_to_an_idle_worker_and_the_slower_one_is_called_off() {
    let mut fixture = Fixture::new(0.0, &["a", "b"]);
    let warm_up = fixture.submit(0, 1);
    fixture.begin("b", warm_up);
    assert_eq!(fixture.accept(warm_up), []);

    let slow = fixture.submit(1, 1);
    fixture.begin("a", slow);
    assert_eq!(fixture.copy_stragglers(), [], "it has only begun");
    fixture.now += 2 * SECOND;
    let copies = submitted(fixture.copy_stragglers());
    assert_eq!(fixture.copy_stragglers(), [], "one copy, once");
    let [copy] = &copies[..] else {
        panic!("{copies:?}")
    };
    assert_eq!((&copy.job, copy.priority), (&job(1, 1), Priority::Urgent));
    assert_eq!(copy.avoid, ["a"]);
    fixture.begin("b", copy.shard);
    assert_eq!(fixture.accept(copy.shard), [Command::Cancel(slow)]);
    assert!(fixture.tracker.purpose(slow).is_none());
    assert_eq!(fixture.accept(slow), [], "it was at its end all the same");
}

#[test]
fn the_original_calls_its_copy_off() {
    let mut fixture = Fixture::new(0.0, &["a", "b"]);
    let warm_up = fixture.submit(0, 1);
    fixture.accept(warm_up);
    let slow = fixture.submit(1, 1);
    fixture.begin("a", slow);
    fixture.now += 2 * SECOND;
    let copy = submitted(fixture.copy_stragglers()).remove(0).shard;
    assert_eq!(fixture.accept(slow), [Command::Cancel(copy)]);
}

#[test]
fn nobody_is_asked_for_a_copy_while_everybody_works() {
    let mut fixture = Fixture::new(0.0, &["a", "b"]);
    let warm_up = fixture.submit(0, 1);
    fixture.accept(warm_up);
    for (name, batch) in [("a", 0), ("b", 1)] {
        let shard = fixture.submit(batch, 1);
        fixture.begin(name, shard);
    }
    fixture.now += 2 * SECOND;
    assert_eq!(fixture.copy_stragglers(), []);
}

#[test]
fn a_shard_that_nobody_holds_is_no_straggler() {
    let mut fixture = Fixture::new(0.0, &["a", "b"]);
    let warm_up = fixture.submit(0, 1);
    fixture.accept(warm_up);
    let shard = fixture.submit(1, 1);
    fixture.begin("a", shard);
    fixture.event(ShardEvent::Ended {
        lease: lease(shard),
        how: Ending::Died {
            worker: "a".to_owned(),
        },
    });
    fixture.now += 2 * SECOND;
    assert_eq!(fixture.copy_stragglers(), []);
}

#[test]
fn an_audit_is_another_workers_work_and_is_not_audited() {
    let mut fixture = Fixture::new(1.0, &["a", "b"]);
    let shard = fixture.submit(0, 2);
    fixture.begin("a", shard);
    let mut commands = fixture.accept(shard);
    let audit = submitted(commands.split_off(1)).remove(0);
    assert_eq!(commands, [Command::MarkAudit(audit.shard)]);
    assert_eq!(
        (&audit.job, audit.priority),
        (&job(0, 2), Priority::Background)
    );
    assert_eq!(audit.avoid, ["a"], "not the one whose work it checks");
    assert_eq!(fixture.accept(audit.shard), []);

    let mut alone = Fixture::new(1.0, &["a"]);
    let shard = alone.submit(0, 2);
    assert_eq!(alone.accept(shard), []);
}

#[test]
fn a_share_of_the_shards_is_audited() {
    let mut plan = forward();
    let batch = plan.batches[0].clone();
    plan.batches = (0..1_000)
        .map(|number| {
            let mut batch = batch.clone();
            batch[0].position = number;
            batch
        })
        .collect();
    let active = active(plan);
    let audited = |share| {
        let fixture = Fixture::new(share, &[]);
        let tracker = &fixture.tracker;
        (0..1_000)
            .filter(|first| tracker.is_audited(&job(*first, 1), &active))
            .count()
    };
    let some = audited(0.1);
    assert!((60..140).contains(&some), "{some} of 1000");
    assert_eq!((audited(0.0), audited(1.0)), (0, 1_000));
}

#[test]
fn who_disagrees_waits_for_a_third() {
    let mut fixture = Fixture::new(0.0, &["a", "b"]);
    let key = fixture.active.forward().unwrap().key(1, 0).unwrap();
    assert_eq!(fixture.deliver("a", 1, key, "x"), []);
    // Once, one of the two may correct itself.
    let opinions = submitted(fixture.deliver("b", 2, key, "y"));
    let [opinion] = &opinions[..] else {
        panic!("{opinions:?}")
    };
    assert_eq!(opinion.job.task, run(1, 1, &[0]));
    assert_eq!(opinion.avoid, ["a", "b"]);
    assert_eq!(fixture.accept(opinion.shard), []);
    assert_eq!(fixture.deliver("b", 3, key, "y"), []);
    assert!(fixture.tracker.is_waiting());

    assert_eq!(fixture.ask_newcomers(), []);
    assert!(fixture.tracker.is_waiting(), "nobody new is there");
    fixture.workers.push(worker("c"));
    let opinion = submitted(fixture.ask_newcomers()).remove(0);
    assert!(!fixture.tracker.is_waiting());
    assert_eq!(opinion.avoid, ["a", "b"]);
    fixture.accept(opinion.shard);
    assert_eq!(fixture.deliver("c", 4, key, "y"), []);
    assert_eq!(fixture.ledger.suspects(), ["a"]);
}

#[test]
fn opinions_come_to_an_end() {
    let mut fixture = Fixture::new(0.0, &["a"]);
    let key = fixture.active.forward().unwrap().key(1, 0).unwrap();
    let contested = |by: &str| ShardEvent::Contested {
        keys: vec![key],
        by: by.to_owned(),
    };
    for number in 0..MAX_OPINIONS {
        fixture.workers.push(worker(&format!("w{number}")));
        assert_eq!(fixture.event(contested("a")).len(), 1);
    }
    let answer = fixture.ask(|tracker, context| tracker.on_event(contested("a"), context));
    assert!(answer.is_err_and(|error| error.key == key));
}

#[test]
fn cells_of_two_trajectories_are_two_opinions() {
    let mut fixture = Fixture::new(0.0, &["a"]);
    let active = fixture.active.forward().unwrap();
    let keys = (0..3).map(|cell| active.key(1, cell).unwrap()).collect();
    let opinions = submitted(fixture.event(ShardEvent::Contested {
        keys,
        by: "b".to_owned(),
    }));
    let tasks: Vec<_> = opinions.into_iter().map(|new| new.job.task).collect();
    assert_eq!(tasks, [run(1, 1, &[0, 1]), run(1, 1, &[2])]);
}

#[test]
fn a_worker_that_is_not_trusted_is_retired() {
    let mut fixture = Fixture::new(0.0, &["a"]);
    let (worker, reason) = ("a".to_owned(), "wrong bits".to_owned());
    let event = ShardEvent::Distrusted {
        worker: worker.clone(),
        reason: reason.clone(),
    };
    assert_eq!(fixture.event(event), [Command::Retire { worker, reason }]);
}

#[test]
fn shards_are_numbered_above_those_that_were_there() {
    let mut fixture = Fixture::new(0.0, &[]);
    fixture.tracker.begin_stage(7);
    fixture.tracker.adopt(9, job(0, 1), Purpose::Work, 1);
    assert_eq!(fixture.submit(1, 1), 10);
    fixture.tracker.begin_stage(0);
    assert_eq!(fixture.tracker.numbers().count(), 0);
    assert_eq!(fixture.submit(1, 1), 11);
}
