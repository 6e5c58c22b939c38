//! What every driver's lease machine must do alike: the order of what comes back, waits, lengths, whom a shard avoids.

use std::time::Duration;

use anofpdm_common::backoff::Backoff;
use anofpdm_common::queue::{ErrorClass, LeaseConfig, Progress, Setback, Take};

use super::silence::{SOON, taken};
use super::{Driver, Rig};

pub(crate) fn the_release_of_a_retired_workers_shards_is_told<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(2);
    let bad = rig.worker("bad");
    taken(&*bad);
    taken(&*bad);
    rig.ask(|queue, _| queue.retire("bad", "its bits differ").unwrap());
    assert_eq!(rig.events("released bad", 2), [Setback::Requeued; 2]);
}

pub(crate) fn a_shard_that_comes_back_stands_behind_the_others<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(3);
    let worker = rig.worker("a");
    let next = || taken(&*worker);
    worker.release(&next().id).unwrap();
    rig.events("released a", 1);
    assert_eq!(next().id.shard, 1);
    assert!(rig.ask(|queue, _| queue.expire(1).unwrap()));
    rig.events("crashed a", 1);
    for shard in [2, 0, 1] {
        assert_eq!(next().id.shard, shard);
    }
}

pub(crate) fn the_wait_before_a_retry_depends_on_shard_and_attempt_alone<D: Driver>() {
    // Far apart, so that it does not matter how long the calls of this test take.
    let backoff = Backoff {
        base: Duration::from_secs(10_000),
        cap: Duration::from_secs(100_000),
    };
    let rig = Rig::<D>::with(LeaseConfig {
        ttl: D::TTL,
        backoff,
        ..LeaseConfig::default()
    });
    rig.submit(8);
    let worker = rig.worker("a");
    let now = rig.ask(|queue, _| queue.now().unwrap().unwrap());
    for _ in 0..8 {
        let lease = taken(&*worker);
        worker.fail(&lease.id, ErrorClass::Transient, "no").unwrap();
    }
    for (shard, setback) in (0..8).zip(rig.events("failed a", 8)) {
        let Setback::RetryAt(at) = setback else {
            panic!("{setback:?}");
        };
        let expected = now + backoff.delay(shard, 1);
        assert!(
            at.abs_diff(expected) < SOON,
            "{shard}: {at:?}, {expected:?}"
        );
    }
}

pub(crate) fn a_lease_lasts_as_long_as_four_of_its_ticks<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    let lease = taken(&*worker);
    rig.pass(D::TTL / 3);
    worker.renew(&lease.id, Progress::from(1)).unwrap();
    let (status, now) = rig.ask(|queue, _| (queue.workers().unwrap(), queue.now().unwrap()));
    let left = status[0].leases[0].deadline - now.unwrap();
    assert!(left > D::TTL * 7 / 6, "{left:?}, not four thirds");
}

pub(crate) fn a_shard_avoids_the_last_eight_who_failed_it<D: Driver>() {
    let rig = Rig::<D>::with(LeaseConfig {
        ttl: D::TTL,
        max_errors: 10,
        backoff: Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        },
        ..LeaseConfig::default()
    });
    rig.submit(1);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let workers = names.map(|name| rig.worker(name));
    for worker in &workers {
        let lease = rig.take_after_backoff(&**worker);
        worker.fail(&lease.id, ErrorClass::Transient, "no").unwrap();
    }
    assert_eq!(workers[1].take(Duration::ZERO).unwrap(), Take::Empty);
    rig.take_after_backoff(&*workers[0]);
}
