//! What a queue tells of workers that say nothing, and how they are given up before their leases end.

use std::time::Duration;

use anofpdm_common::queue::{Progress, Renewal, Setback, Take, WorkQueue};

use super::{Driver, Rig};

pub(super) const SOON: Duration = Duration::from_secs(60);

fn heard<D: Driver>(rig: &Rig<D>, name: &'static str) -> Duration {
    let workers = rig.ask(|queue, _| queue.workers().unwrap());
    let worker = workers.iter().find(|worker| worker.info.worker == name);
    worker.unwrap().heard
}

pub(super) fn taken(worker: &dyn WorkQueue) -> anofpdm_common::queue::Lease {
    match worker.take(SOON).unwrap() {
        Take::Leased(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

pub(crate) fn renewals_are_heard_and_silence_is_not<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    let worker = rig.worker("a");
    let lease = taken(worker.as_ref());
    let first = heard(&rig, "a");
    rig.pass(Duration::from_millis(30));
    assert_eq!(heard(&rig, "a"), first, "nothing was said");
    let held = worker.renew(&lease.id, Progress::from(1)).unwrap();
    assert_eq!(held, Renewal::Held { cancel: false });
    let second = heard(&rig, "a");
    assert!(second >= first + Duration::from_millis(30));
    rig.pass(Duration::from_millis(30));
    worker.release(&lease.id).unwrap();
    rig.events("released a", 1);
    assert!(heard(&rig, "a") > second);
}

pub(crate) fn a_lease_that_is_let_run_out_is_a_crash<D: Driver>() {
    let rig = Rig::<D>::start();
    rig.submit(1);
    assert!(!rig.ask(|queue, _| queue.expire(0).unwrap()), "nobody's");
    let silent = rig.worker("a");
    let old = taken(silent.as_ref());
    assert!(rig.ask(|queue, _| queue.expire(0).unwrap()));
    assert_eq!(rig.events("crashed a", 1), [Setback::Requeued]);
    let new = taken(rig.worker("b").as_ref());
    assert!(new.id.epoch > old.id.epoch);
    assert_eq!(
        silent.renew(&old.id, Progress::from(1)).unwrap(),
        Renewal::Lost
    );
    assert!(!rig.ask(|queue, _| queue.expire(9).unwrap()), "unknown");
}
