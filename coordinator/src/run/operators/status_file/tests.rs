use std::fs::File;
use std::sync::{Arc, Mutex};

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, NumericProfile, WorkerInfo};
use anofpdm_common::queue::in_memory::{Clock, InMemoryQueue};
use anofpdm_common::queue::{
    Claim, ErrorClass, Event, LeaseConfig, Progress, QueueHandler, Renewal, Submission, Take,
    Verdict,
};

use super::*;
use crate::ledger::Entry;
use crate::run::error::SchedulerError;

#[derive(Debug, Clone, Default)]
struct TestClock(Arc<Mutex<Duration>>);

impl TestClock {
    fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

struct Yes;

impl QueueHandler for Yes {
    fn admit(&mut self, _worker: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }
    fn commit(&mut self, _claim: Claim<'_>) -> Verdict {
        Verdict::Accept
    }
    fn notice(&mut self, _event: Event) {}
}

fn queue() -> (InMemoryQueue, TestClock) {
    let clock = TestClock::default();
    let broker = InMemoryQueue::new(LeaseConfig::default(), Box::new(clock.clone()));
    (broker, clock)
}

fn worker(name: &str) -> WorkerInfo {
    WorkerInfo {
        worker: name.to_owned(),
        host: "node-7".to_owned(),
        pid: 42,
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.12".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 2,
        },
        memory_bytes: 8 << 30,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}

fn job(shard: u64) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches(BatchRun {
            first: u32::try_from(shard).unwrap(),
            count: 2,
            cells: vec![0, 1, 2],
        }),
    }
}

fn submit(queue: &mut InMemoryQueue, shards: std::ops::Range<u64>) {
    let submissions = shards.map(|shard| Submission::new(shard, job(shard)));
    queue.submit(submissions.collect()).unwrap();
}

fn take(queue: &mut InMemoryQueue, worker: &str) -> anofpdm_common::queue::Lease {
    match queue.take(worker, &mut Yes) {
        Take::Leased(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn run() -> (tempfile::TempDir, RunFolder) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spec.toml"), "").unwrap();
    let folder = RunFolder::open(dir.path()).unwrap();
    (dir, folder)
}

fn moment<'a>(ledger: &'a Ledger, done: u64) -> Moment<'a> {
    Moment {
        stage: Some(Stage::Score),
        work: Some(Done {
            unit: Unit::Slices,
            done,
            total: 100,
            under_way: 0.0,
        }),
        paused: false,
        queue: "unix:/run/queue.sock",
        ledger,
        job: &|shard| Some(job(shard)),
    }
}

fn read(folder: &RunFolder) -> Snapshot {
    Snapshot::read(folder).unwrap().unwrap()
}

#[test]
fn others_see_what_the_coordinator_sees() {
    let (_dir, folder) = run();
    assert_eq!(Snapshot::read(&folder).unwrap(), None, "nobody was here");
    let mut live = StatusFile::start(&folder, "demo-00c0ffee");
    let begun = read(&folder);
    assert_eq!((begun.run.as_str(), begun.stage), ("demo-00c0ffee", None));
    assert_eq!(begun.coordinator.pid, std::process::id());

    let (mut queue, clock) = queue();
    submit(&mut queue, 0..3);
    queue.register(&worker("a"), &mut Yes).unwrap();
    let failed = take(&mut queue, "a");
    queue.fail(
        "a",
        failed.id,
        ErrorClass::BadInput,
        "slice 3:\nNaN",
        &mut Yes,
    );
    let lease = take(&mut queue, "a");
    clock.pass(Duration::from_secs(5));
    let progress = Progress {
        ticks: 7,
        note: "batch 1".to_owned(),
    };
    let held = queue.renew("a", lease.id, progress);
    assert_eq!(held, Renewal::Held { cancel: false });
    clock.pass(Duration::from_secs(10));

    let mut ledger = Ledger::default();
    ledger.apply(&Entry::Distrusted {
        worker: "b".to_owned(),
        reason: "wrong bits".to_owned(),
    });
    live.update_now(&queue, &moment(&ledger, 40)).unwrap();
    let seen = read(&folder);
    assert_eq!(seen, live.last, "the file holds every field");
    assert_eq!(seen.stage, Some(Stage::Score));
    assert_eq!(seen.queue.as_deref(), Some("unix:/run/queue.sock"));
    let counts = (seen.shards.queued, seen.shards.leased, seen.shards.dead);
    assert_eq!(counts, (1, 1, 1));
    assert_eq!(seen.verdicts.distrusted, 1);
    let [one] = &seen.workers[..] else {
        panic!("{:?}", seen.workers);
    };
    assert_eq!(
        (one.name.as_str(), one.host.as_str(), one.pid),
        ("a", "node-7", 42)
    );
    assert_eq!((one.device.as_str(), one.memory_bytes), ("cpu", 8 << 30));
    assert!(one.profile.contains("AVX2"));
    assert_eq!(
        one.leases,
        [Held {
            shard: 1,
            job: Some("score batches 1 to 2, 3 cells".to_owned()),
            seconds: 15.0,
            deadline_seconds: 50.0,
            ticks: 7,
            note: "batch 1".to_owned(),
        }]
    );
    assert_eq!(
        seen.dead,
        [Dead {
            shard: 0,
            job: Some("score batches 0 to 1, 3 cells".to_owned()),
            errors: 1,
            crashes: 0,
            worker: "a".to_owned(),
            class: "BadInput".to_owned(),
            message: "slice 3:\nNaN".to_owned(),
            cut_bytes: 0,
        }]
    );
    let work = seen.work.unwrap();
    assert_eq!((work.done, work.total, work.per_second), (40, 100, None));
}

#[test]
fn a_rate_and_an_end_are_seen() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (queue, _clock) = queue();
    let mut live = StatusFile::start(&folder, "demo");
    live.update_now(&queue, &moment(&ledger, 40)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    live.update_now(&queue, &moment(&ledger, 60)).unwrap();
    let work = read(&folder).work.unwrap();
    let per_second = work.per_second.unwrap();
    assert!(
        per_second > 0.0 && per_second <= 400.0,
        "20 in 50 ms or more: {per_second}"
    );
    let eta = work.eta_seconds.unwrap();
    assert!((eta - 40.0 / per_second).abs() < 1e-6);
    let paused = Moment {
        paused: true,
        ..moment(&ledger, 60)
    };
    live.update(&queue, &paused).unwrap();
    let work = read(&folder).work.unwrap();
    assert_eq!(work.eta_seconds, None, "nobody knows for how long");
    let next = Moment {
        stage: Some(Stage::Calibrate),
        ..moment(&ledger, 0)
    };
    live.update(&queue, &next).unwrap();
    assert_eq!(
        read(&folder).work.unwrap().per_second,
        None,
        "another stage"
    );
}

#[test]
fn what_is_under_way_moves_and_a_training_goes_on_in_a_pause() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (mut queue, _clock) = queue();
    submit(&mut queue, 0..1);
    queue.register(&worker("a"), &mut Yes).unwrap();
    take(&mut queue, "a");
    let mut live = StatusFile::start(&folder, "demo");
    let at = |stage, under_way| Moment {
        stage: Some(stage),
        work: Some(Done {
            unit: Unit::Steps,
            done: 40,
            total: 100,
            under_way,
        }),
        paused: true,
        ..moment(&ledger, 0)
    };
    for (stage, known) in [(Stage::Train, true), (Stage::Score, false)] {
        live.update_now(&queue, &at(stage, 0.0)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        live.update(&queue, &at(stage, 10.0)).unwrap();
        let work = live.at_work().unwrap();
        assert_eq!((work.done, work.under_way, work.share()), (40, 10.0, 0.5));
        assert_eq!(work.eta_seconds.is_some(), known, "{stage:?}");
    }
}

#[test]
fn the_file_is_replaced_each_second_and_when_something_happens() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (mut queue, _clock) = queue();
    submit(&mut queue, 0..3);
    queue.register(&worker("a"), &mut Yes).unwrap();
    let mut live = StatusFile::start(&folder, "demo");
    live.update(&queue, &moment(&ledger, 1)).unwrap();
    assert_eq!(read(&folder).work.unwrap().done, 1, "a stage began");
    live.update(&queue, &moment(&ledger, 2)).unwrap();
    assert_eq!(read(&folder).work.unwrap().done, 1, "too soon");
    let paused = Moment {
        paused: true,
        ..moment(&ledger, 3)
    };
    live.update(&queue, &paused).unwrap();
    assert!(read(&folder).paused);
    let lease = take(&mut queue, "a");
    queue.fail("a", lease.id, ErrorClass::Fatal, "no", &mut Yes);
    live.update(&queue, &paused).unwrap();
    assert_eq!(read(&folder).dead.len(), 1);
    live.written -= EVERY;
    let later = Moment {
        paused: true,
        ..moment(&ledger, 9)
    };
    live.update(&queue, &later).unwrap();
    assert_eq!(read(&folder).work.unwrap().done, 9);
}

#[test]
fn dead_letters_and_the_cause_outlive_the_coordinator() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (mut queue, _clock) = queue();
    submit(&mut queue, 0..2);
    queue.register(&worker("a"), &mut Yes).unwrap();
    let lease = take(&mut queue, "a");
    queue.fail("a", lease.id, ErrorClass::Fatal, "no", &mut Yes);
    let mut live = StatusFile::start(&folder, "demo");
    live.update(&queue, &moment(&ledger, 40)).unwrap();
    let error = SchedulerError::Dead {
        shards: 1,
        message: "no".to_owned(),
    };
    live.end(Ended::with_error(&error));
    let last = read(&folder);
    let ended = last.ended.unwrap();
    assert_eq!(ended.outcome, RunOutcome::Failed);
    assert!(
        ended.message.contains("1 shard(s) failed"),
        "{}",
        ended.message
    );
    assert_eq!((last.dead.len(), last.workers.len()), (1, 0));

    // The next coordinator begins afresh: its shards have other numbers.
    let next = StatusFile::start(&folder, "demo");
    let begun = read(&folder);
    assert_eq!((begun.dead.len(), begun.ended), (0, None));
    next.end(Ended::finished("the report is written"));
    assert_eq!(read(&folder).ended.unwrap().outcome, RunOutcome::Finished);
}

#[test]
fn an_end_is_named_after_its_cause() {
    let interrupted = SchedulerError::from(Interrupted::TimeIsUp);
    assert_eq!(
        Ended::with_error(&interrupted).outcome,
        RunOutcome::Interrupted
    );
    let wrapped = crate::run::RunError::from(interrupted);
    assert_eq!(Ended::with_error(&wrapped).outcome, RunOutcome::Interrupted);
    assert_eq!(Ended::with_error(&Cancelled).outcome, RunOutcome::Cancelled);
    let long = io::Error::other("x".repeat(1 << 20));
    assert_eq!(Ended::with_error(&long).message.len(), ENDED_LIMIT);
}

#[test]
fn the_file_stays_small_however_much_there_is_to_say() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (mut queue, _clock) = queue();
    let count = 300;
    submit(&mut queue, 0..count);
    for number in 0..count {
        let name = format!("worker-{number:03}");
        queue.register(&worker(&name), &mut Yes).unwrap();
        let lease = take(&mut queue, &name);
        // The worst a message can be: every byte takes six in the file.
        let message = "\u{1}".repeat(20_000);
        queue.fail(&name, lease.id, ErrorClass::Fatal, &message, &mut Yes);
    }
    submit(&mut queue, count..count + 10);
    for _ in 0..10 {
        take(&mut queue, "worker-000");
    }
    let mut live = StatusFile::start(&folder, "demo");
    live.update_now(&queue, &moment(&ledger, 40)).unwrap();
    let seen = read(&folder);
    assert_eq!(
        (seen.workers.len(), seen.more_workers),
        (WORKERS_LISTED, 44)
    );
    assert_eq!(seen.workers_total(), count);
    assert_eq!(seen.workers_at_work(), 1);
    // The coordinator itself knows them all.
    assert_eq!(live.shown().all_workers().count() as u64, count);
    assert_eq!((seen.dead.len(), seen.more_dead), (DEAD_LISTED, 100));
    assert_eq!(seen.dead_total(), count);
    let first = &seen.workers[0];
    assert_eq!((first.leases.len(), first.more_leases), (LEASES_LISTED, 6));
    let (whole, last) = (&seen.dead[0], &seen.dead[DEAD_LISTED - 1]);
    assert_eq!((whole.message.len(), whole.cut_bytes), (16 << 10, 0));
    assert_eq!(
        (last.message.len(), last.cut_bytes),
        (512, (16 << 10) - 512)
    );
}

#[test]
fn a_disk_that_refuses_does_not_stop_the_run() {
    let (_dir, folder) = run();
    let ledger = Ledger::default();
    let (queue, _clock) = queue();
    let mut live = StatusFile::start(&folder, "demo");
    let blocked = folder.live().with_extension("json.tmp");
    fs::create_dir(&blocked).unwrap();
    live.update_now(&queue, &moment(&ledger, 40)).unwrap();
    assert_eq!(read(&folder).work, None, "the old one");
    fs::remove_dir(&blocked).unwrap();
    live.update_now(&queue, &moment(&ledger, 40)).unwrap();
    assert_eq!(read(&folder).work.unwrap().done, 40);
}

#[test]
fn hostile_files_are_errors_that_name_the_file() {
    let (_dir, folder) = run();
    StatusFile::start(&folder, "demo").end(Ended::finished("done"));
    let good = fs::read_to_string(folder.live()).unwrap();
    let refused = |text: &[u8]| {
        fs::write(folder.live(), text).unwrap();
        Snapshot::read(&folder).unwrap_err().to_string()
    };
    for (text, part) in [
        (String::new(), "EOF"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        ("{}".to_owned(), "format"),
        (
            good.replace("\"format\":1", "\"format\":2"),
            "this version knows 1",
        ),
        (
            good.replace("\"workers\":[]", "\"workers\":7"),
            "expected a sequence",
        ),
        (good.replace("\"dead\":0", "\"dead\":-1"), "-1"),
        ("[".repeat(100_000), "live.json"),
    ] {
        assert_ne!(text, good);
        let complaint = refused(text.as_bytes());
        assert!(complaint.contains(part), "{part}: {complaint}");
        assert!(complaint.contains("live.json"), "{complaint}");
    }
    assert!(refused(&[0xff; 100]).contains("live.json"));
    let huge = File::create(folder.live()).unwrap();
    huge.set_len(1 << 40).unwrap();
    let complaint = Snapshot::read(&folder).unwrap_err().to_string();
    assert!(complaint.contains("larger than"), "{complaint}");
    fs::write(folder.live(), &good).unwrap();
    assert!(Snapshot::read(&folder).unwrap().is_some());
    // A later version may say more.
    fs::write(folder.live(), good.replacen('{', "{\"mood\":\"good\",", 1)).unwrap();
    assert!(Snapshot::read(&folder).unwrap().is_some());
}
