//! One suite, every driver: what a worker and a coordinator may rely on, whichever queue runs.
//!
//! `queue_conformance!(driver)` makes the tests for one [`Driver`]. A driver's dispatcher lives on a thread
//! of its own, as in a real run; the tests reach it through a channel.

pub(crate) mod rig;

use std::time::Duration;

use anofpdm_common::plan::{GangRank, Job, Stage, Task};
use anofpdm_common::queue::rendezvous_store::VALUE_LIMIT;
use anofpdm_common::queue::{
    ErrorClass, Lease, Priority, Progress, QueueError, Renewal, Setback, Submission, Take, Verdict,
};
use rig::lease_rules::{
    a_lease_lasts_as_long_as_four_of_its_ticks, a_shard_avoids_the_last_eight_who_failed_it,
    a_shard_that_comes_back_stands_behind_the_others,
    the_release_of_a_retired_workers_shards_is_told,
    the_wait_before_a_retry_depends_on_shard_and_attempt_alone,
};
use rig::silence::{a_lease_that_is_let_run_out_is_a_crash, renewals_are_heard_and_silence_is_not};
use rig::{Driver, InProcess, Redis, Rig, UnixSocket, completion, job};

/// Longer than any answer takes, far shorter than a failing test may hang.
const SOON: Duration = Duration::from_secs(60);

fn leased(take: Take) -> Lease {
    match take {
        Take::Leased(lease) => {
            assert_eq!(lease.job, job(lease.id.shard), "the job of another shard");
            lease
        }
        other => panic!("expected a lease, got {other:?}"),
    }
}

fn take_complete_finish<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(3);
    assert!(
        rig.ask(|queue, _| queue.submit(vec![Submission::new(0, job(0))]).unwrap()) == 0,
        "known already"
    );
    let worker = rig.worker("a");
    for shard in 0..3 {
        let lease = leased(worker.take(SOON).unwrap());
        assert_eq!(lease.id.shard, shard);
        assert_eq!(lease.ttl, D::TTL);
        assert_eq!(
            worker.renew(&lease.id, Progress::from(1)).unwrap(),
            Renewal::Held { cancel: false }
        );
        worker.complete(&lease, &completion(shard)).unwrap();
        assert_eq!(
            worker.renew(&lease.id, Progress::from(2)).unwrap(),
            Renewal::Lost
        );
    }
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
    rig.claims(3);
    rig.ask(|queue, _| queue.finish().unwrap());
    assert_eq!(worker.take(SOON).unwrap(), Take::Finished);
    rig.counted("three are done", |counts| counts.done == 3);
    let claims = rig.claims(3);
    assert_eq!(claims, [(0, "a".into()), (1, "a".into()), (2, "a".into())]);
}

fn two_workers_never_share_a_shard<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let (a, b) = (rig.worker("a"), rig.worker("b"));
    let first = leased(a.take(SOON).unwrap());
    let second = leased(b.take(SOON).unwrap());
    assert_ne!(first.id.shard, second.id.shard);
    assert_eq!(b.take(Duration::ZERO).unwrap(), Take::Empty);
    assert_eq!(
        b.renew(&first.id, Progress::from(1)).unwrap(),
        Renewal::Lost,
        "not its lease"
    );
    assert_eq!(
        a.renew(&first.id, Progress::from(1)).unwrap(),
        Renewal::Held { cancel: false }
    );
}

fn an_expired_lease_moves_and_the_zombie_is_fenced<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let (zombie, other) = (rig.worker("zombie"), rig.worker("other"));
    let old = leased(zombie.take(SOON).unwrap());
    rig.let_leases_expire();
    let new = leased(other.take(SOON).unwrap());
    assert_eq!(new.id.shard, old.id.shard);
    assert!(new.id.epoch > old.id.epoch);
    assert_eq!(
        zombie.renew(&old.id, Progress::from(1)).unwrap(),
        Renewal::Lost
    );
    zombie.fail(&old.id, ErrorClass::Fatal, "too late").unwrap();
    zombie.release(&old.id).unwrap();
    assert_eq!(
        other.renew(&new.id, Progress::from(1)).unwrap(),
        Renewal::Held { cancel: false }
    );
    assert_eq!(rig.events("crashed zombie", 1), [Setback::Requeued]);
}

fn a_late_result_is_welcome_and_done_is_final<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let (zombie, other) = (rig.worker("zombie"), rig.worker("other"));
    let old = leased(zombie.take(SOON).unwrap());
    rig.let_leases_expire();
    let new = leased(other.take(SOON).unwrap());
    zombie.complete(&old, &completion(0)).unwrap();
    rig.counted("the zombie's result", |counts| counts.done == 1);
    assert_eq!(
        other.renew(&new.id, Progress::from(1)).unwrap(),
        Renewal::Lost,
        "stop: it is done"
    );
    other.complete(&new, &completion(0)).unwrap();
    assert_eq!(rig.claims(2).len(), 2, "the coordinator sees the duplicate");
    rig.counted("still one", |counts| counts.done == 1);
    assert_eq!(other.take(Duration::ZERO).unwrap(), Take::Empty);
}

fn renewal_keeps_a_lease<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    let lease = leased(worker.take(SOON).unwrap());
    for progress in 1..=6 {
        rig.pass(D::TTL / 3);
        let renewal = worker.renew(&lease.id, progress.into()).unwrap();
        assert_eq!(renewal, Renewal::Held { cancel: false });
    }
    rig.events("crashed a", 0);
}

fn the_third_crash_is_dead<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    for name in ["a", "b", "c"] {
        let worker = rig.worker(name);
        leased(worker.take(SOON).unwrap());
        rig.lose(name, worker);
    }
    rig.counted("one is dead", |counts| counts.dead == 1);
    let letters = rig.ask(|queue, _| queue.dead_letters().unwrap());
    assert_eq!((letters[0].crashes, letters[0].errors), (3, 0));
    assert_eq!(letters[0].worker, "c");
    assert!(rig.ask(|queue, _| queue.revive(0).unwrap()));
    leased(rig.worker("d").take(SOON).unwrap());
}

fn the_third_error_is_dead_and_its_text_is_kept<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    for error in 1..=3 {
        let lease = rig.take_after_backoff(&*worker);
        let text = format!("read record: disk {error}: no such device");
        worker
            .fail(&lease.id, ErrorClass::Transient, &text)
            .unwrap();
    }
    rig.counted("one is dead", |counts| counts.dead == 1);
    let letters = rig.ask(|queue, _| queue.dead_letters().unwrap());
    assert_eq!((letters[0].crashes, letters[0].errors), (0, 3));
    assert!(format!("{:?}", letters[0].failure).contains("disk 3: no such device"));
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
}

fn bad_input_is_dead_at_once<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    let lease = leased(worker.take(SOON).unwrap());
    let long = "x".repeat(1 << 20);
    worker.fail(&lease.id, ErrorClass::BadInput, &long).unwrap();
    rig.counted("one is dead", |counts| counts.dead == 1);
}

fn a_release_is_not_counted<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    for _ in 0..5 {
        let lease = leased(worker.take(SOON).unwrap());
        worker.release(&lease.id).unwrap();
    }
    leased(worker.take(SOON).unwrap());
    rig.events("released a", 5);
}

fn a_rejected_result_is_tried_again<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    rig.ask(|_, handler| handler.verdict = Verdict::Reject("record 3 is not finite".into()));
    let lease = leased(worker.take(SOON).unwrap());
    worker.complete(&lease, &completion(0)).unwrap();
    rig.claims(1);
    rig.counted("not done", |counts| counts.done == 0);
    rig.ask(|_, handler| handler.verdict = Verdict::Undecided);
    let lease = rig.take_after_backoff(&*worker);
    worker.complete(&lease, &completion(0)).unwrap();
    rig.claims(2);
    rig.ask(|_, handler| handler.verdict = Verdict::Accept);
    let lease = leased(worker.take(SOON).unwrap());
    worker.complete(&lease, &completion(0)).unwrap();
    rig.counted("done", |counts| counts.done == 1);
    let failed = rig.events("failed a", 1);
    assert!(matches!(failed[..], [Setback::RetryAt(_)]), "{failed:?}");
}

fn pause_and_resume<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let worker = rig.worker("a");
    let lease = leased(worker.take(SOON).unwrap());
    rig.ask(|queue, _| queue.set_paused(true).unwrap());
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
    assert_eq!(
        worker.renew(&lease.id, Progress::from(1)).unwrap(),
        Renewal::Held { cancel: false }
    );
    worker.complete(&lease, &completion(0)).unwrap();
    rig.ask(|queue, _| queue.set_paused(false).unwrap());
    assert_eq!(leased(worker.take(SOON).unwrap()).id.shard, 1);
}

fn cancel_through_renewal<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let worker = rig.worker("a");
    let lease = leased(worker.take(SOON).unwrap());
    assert!(rig.ask(|queue, _| queue.cancel(0).unwrap() && queue.cancel(1).unwrap()));
    assert_eq!(
        worker.renew(&lease.id, Progress::from(1)).unwrap(),
        Renewal::Held { cancel: true }
    );
    worker.release(&lease.id).unwrap();
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
    rig.counted("both are cancelled", |counts| counts.cancelled == 2);
}

fn drain_stops_taking<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let worker = rig.worker("a");
    let lease = leased(worker.take(SOON).unwrap());
    rig.ask(|queue, _| queue.drain().unwrap());
    assert_eq!(worker.take(SOON).unwrap(), Take::Drain);
    worker.complete(&lease, &completion(0)).unwrap();
    rig.counted("done", |counts| counts.done == 1);
}

fn a_worker_may_be_refused<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    rig.ask(|_, handler| handler.refuse = Some("profile differs: threads 2, the run has 1".into()));
    let refused = rig.connect("a").register(&rig::info("a"));
    let Err(QueueError::Refused(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("threads 2"));
    rig.ask(|_, handler| handler.refuse = None);
    let _first = rig.worker("a");
    let twice = rig.connect("a").register(&rig::info("a"));
    assert!(
        matches!(twice, Err(QueueError::Refused(_))),
        "names are unique"
    );
    let other = rig.connect("b");
    other.register(&rig::info("b")).unwrap();
    assert_eq!(rig.ask(|queue, _| queue.workers().unwrap().len()), 2);
}

fn a_lost_worker_frees_its_shard<D: Driver>() {
    let rig = Rig::<D>::with_leases_of(D::LEASE_OF_THE_LOST);
    rig.submit(1);
    let (doomed, other) = (rig.worker("doomed"), rig.worker("other"));
    let lease = leased(doomed.take(SOON).unwrap());
    let (status, now) = rig.ask(|queue, _| (queue.workers().unwrap(), queue.now().unwrap()));
    let live = &status[0].leases[0];
    assert_eq!(live.lease, lease.id);
    let now = now.expect("the queue is there");
    assert!(
        live.since <= now && now < live.deadline,
        "a lease and the queue's clock tell the same time: {live:?}, {now:?}"
    );
    rig.lose("doomed", doomed);
    assert_eq!(leased(other.take(SOON).unwrap()).id.shard, 0);
    assert_eq!(rig.events("crashed doomed", 1), [Setback::Requeued]);
    assert_eq!(rig.ask(|queue, _| queue.workers().unwrap().len()), 1);
}

fn priorities_take_weighted_turns<D: Driver>() {
    let rig = Rig::<D>::start();
    let priority_of = |shard: u64| match shard {
        0..8 => Priority::Background,
        8..16 => Priority::Normal,
        _ => Priority::Urgent,
    };
    let shards = (0..24)
        .map(|shard| Submission {
            priority: priority_of(shard),
            ..Submission::new(shard, job(shard))
        })
        .collect();
    assert_eq!(rig.ask(|queue, _| queue.submit(shards).unwrap()), 24);
    let worker = rig.worker("a");
    let mut taken = [0; 3];
    let mut last = [None; 3];
    for _ in 0..14 {
        let shard = leased(worker.take(SOON).unwrap()).id.shard;
        let priority = priority_of(shard).index();
        taken[priority] += 1;
        assert!(
            last[priority] < Some(shard),
            "a priority keeps the order of submission"
        );
        last[priority] = Some(shard);
    }
    assert_eq!(taken, [8, 4, 2]);
    for _ in 14..24 {
        leased(worker.take(SOON).unwrap());
    }
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
}

fn an_avoided_worker_gets_a_shard_only_when_alone<D: Driver>() {
    let rig = Rig::<D>::start();
    let avoiding = |shard: u64| Submission {
        avoid: vec!["a".to_owned()],
        ..Submission::new(shard, job(shard))
    };
    let (a, b) = (rig.worker("a"), rig.worker("b"));
    rig.ask(move |queue, _| queue.submit(vec![avoiding(0), avoiding(1)]).unwrap());
    assert_eq!(a.take(Duration::ZERO).unwrap(), Take::Empty);
    let first = rig.take_after_backoff(&*b);
    b.complete(&first, &completion(first.id.shard)).unwrap();
    b.leave().unwrap();
    let second = rig.take_after_backoff(&*a);
    assert_ne!(first.id.shard, second.id.shard);
}

fn a_failed_shard_goes_to_another_worker<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let (a, b) = (rig.worker("a"), rig.worker("b"));
    let lease = leased(a.take(SOON).unwrap());
    a.fail(&lease.id, ErrorClass::Transient, "disk full")
        .unwrap();
    rig.pass(Duration::from_millis(60));
    assert_eq!(a.take(Duration::ZERO).unwrap(), Take::Empty);
    rig.take_after_backoff(&*b);
}

fn who_leaves_releases<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let (a, b) = (rig.worker("a"), rig.worker("b"));
    leased(a.take(SOON).unwrap());
    a.leave().unwrap();
    leased(b.take(SOON).unwrap());
    rig.until("a is gone", |queue, _| queue.workers().unwrap().len() == 1);
    rig.events("released a", 1);
    rig.events("crashed a", 0);
}

fn a_retired_worker_loses_its_shard_and_gets_no_other<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let (bad, good) = (rig.worker("bad"), rig.worker("good"));
    let lease = leased(bad.take(SOON).unwrap());
    rig.ask(|queue, _| queue.retire("bad", "its bits differ").unwrap());
    assert_eq!(
        bad.renew(&lease.id, Progress::from(1)).unwrap(),
        Renewal::Lost
    );
    let told = bad.take(SOON).unwrap();
    assert_eq!(told, Take::Retired("its bits differ".to_owned()));
    leased(good.take(SOON).unwrap());
    leased(good.take(SOON).unwrap());
}

/// A job of one rank.
fn rank(generation: u64, rank: u32) -> Job {
    let gang = GangRank {
        generation,
        rank,
        world: 2,
    };
    Job {
        stage: Stage::Train,
        plan: job(0).plan,
        task: Task::Train(gang),
    }
}

fn ranks_find_each_other_through_the_queue<D: Driver>() {
    let rig = Rig::<D>::start();
    let ranks = [(0, 5, 0), (1, 5, 1), (2, 6, 0), (3, 6, 1)];
    let submissions =
        ranks.map(|(shard, generation, number)| Submission::new(shard, rank(generation, number)));
    assert_eq!(
        rig.ask(|queue, _| queue.submit(submissions.into()).unwrap()),
        4
    );
    let workers = ["a", "b", "c", "d"].map(|name| rig.worker(name));
    let leases: Vec<Lease> = workers
        .iter()
        .map(|worker| match worker.take(SOON).unwrap() {
            Take::Leased(lease) => lease,
            other => panic!("expected a lease, got {other:?}"),
        })
        .collect();
    let read = |seat: usize, key: &str| workers[seat].rendezvous_get(&leases[seat], key).unwrap();
    let post = |seat: usize, key: &str, note: &[u8]| {
        workers[seat]
            .rendezvous_set(&leases[seat], key, note)
            .unwrap();
    };
    assert_eq!(read(1, "address/0"), None);
    post(0, "address/0", b"127.0.0.1\0\xff");
    assert_eq!(
        read(1, "address/0").as_deref(),
        Some(&b"127.0.0.1\0\xff"[..])
    );
    assert_eq!(read(0, "address/1"), None);
    assert_eq!(read(2, "address/0"), None, "of another generation");
    // The newer generation has the store to itself; the older one's values are lost without an error.
    post(3, "address/1", b"new");
    assert_eq!(read(1, "address/0"), None);
    post(0, "address/0", b"old");
    assert_eq!(read(2, "address/0"), None);
    assert_eq!(read(2, "address/1").as_deref(), Some(&b"new"[..]));
    post(3, "address/1", &vec![7; VALUE_LIMIT]);
    assert_eq!(
        read(2, "address/1").map(|note| note.len()),
        Some(VALUE_LIMIT)
    );
}

macro_rules! queue_conformance {
    ($name:ident, $driver:ident) => {
        queue_conformance!(@tests $name, $driver,
            take_complete_finish,
            two_workers_never_share_a_shard,
            an_expired_lease_moves_and_the_zombie_is_fenced,
            a_late_result_is_welcome_and_done_is_final,
            renewal_keeps_a_lease,
            the_third_crash_is_dead,
            the_third_error_is_dead_and_its_text_is_kept,
            bad_input_is_dead_at_once,
            a_release_is_not_counted,
            a_rejected_result_is_tried_again,
            pause_and_resume,
            cancel_through_renewal,
            drain_stops_taking,
            a_worker_may_be_refused,
            a_lost_worker_frees_its_shard,
            priorities_take_weighted_turns,
            an_avoided_worker_gets_a_shard_only_when_alone,
            a_failed_shard_goes_to_another_worker,
            who_leaves_releases,
            a_retired_worker_loses_its_shard_and_gets_no_other,
            the_release_of_a_retired_workers_shards_is_told,
            a_shard_that_comes_back_stands_behind_the_others,
            the_wait_before_a_retry_depends_on_shard_and_attempt_alone,
            a_lease_lasts_as_long_as_four_of_its_ticks,
            a_shard_avoids_the_last_eight_who_failed_it,
            ranks_find_each_other_through_the_queue,
            renewals_are_heard_and_silence_is_not,
            a_lease_that_is_let_run_out_is_a_crash,
        );
    };
    (@tests $name:ident, $driver:ident, $($test:ident,)*) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::$test::<super::$driver>();
                }
            )*
        }
    };
}

queue_conformance!(in_process, InProcess);
queue_conformance!(unix_socket, UnixSocket);
queue_conformance!(redis, Redis);
