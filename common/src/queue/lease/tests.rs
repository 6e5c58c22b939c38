use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::queue::priority::Priority;

const TTL: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn table(shards: u64) -> LeaseTable<u64> {
    let mut table = LeaseTable::new(LeaseConfig::default());
    for shard in 0..shards {
        assert!(table.submit(shard, shard * 10, Priority::Normal, Vec::new()));
    }
    table
}

fn take(table: &mut LeaseTable<u64>, owner: &str, now: Duration) -> LeaseId {
    table.take(owner, &[], now).unwrap().lease
}

#[test]
fn shards_are_given_in_order_once_each() {
    let mut table = table(2);
    assert!(
        !table.submit(1, 99, Priority::Normal, Vec::new()),
        "submit is idempotent"
    );
    let first = table.take("a", &[], at(0)).unwrap();
    assert_eq!((first.lease.shard, *first.payload), (0, 0));
    assert_eq!(take(&mut table, "b", at(0)).shard, 1);
    assert!(table.take("a", &[], at(0)).is_none());
    assert_eq!(table.payload(1), Some(&10));
}

#[test]
fn an_expired_lease_goes_to_another_worker_and_the_zombie_is_fenced() {
    let mut table = table(1);
    let zombie = take(&mut table, "zombie", at(0));
    assert_eq!(table.next_deadline(), Some(TTL));
    assert!(table.reap(at(59)).is_empty());
    let expired = table.reap(at(60));
    assert_eq!(expired[0].setback, Setback::Requeued);
    assert_eq!(
        (expired[0].lease, expired[0].owner.as_str()),
        (zombie, "zombie")
    );
    let fresh = take(&mut table, "b", at(60));
    assert_eq!(table.renew("zombie", zombie, 1, at(61)), Renewal::Lost);
    let refused = table.fail("zombie", zombie, ErrorClass::Fatal, "late", at(61));
    assert_eq!(refused, Setback::NotHeld);
    assert_eq!(table.release("zombie", zombie), Setback::NotHeld);
    // Even the same worker cannot use its old epoch.
    assert_eq!(table.renew("b", zombie, 1, at(61)), Renewal::Lost);
    assert_eq!(
        table.renew("b", fresh, 1, at(61)),
        Renewal::Held { cancel: false }
    );
    // Its result is welcome; the newer lease is void.
    assert_eq!(table.complete("zombie", zombie), Finish::Late);
    assert_eq!(table.renew("b", fresh, 2, at(62)), Renewal::Lost);
    assert_eq!(table.complete("b", fresh), Finish::Repeated);
    assert_eq!(table.counts().done, 1);
}

#[test]
fn a_lease_let_run_out_is_reaped_unless_it_is_renewed_before() {
    let mut table = table(2);
    let (silent, late) = (take(&mut table, "a", at(0)), take(&mut table, "b", at(0)));
    assert!(table.expire(silent.shard) && table.expire(late.shard));
    assert_eq!(
        table.renew("b", late, 1, at(10)),
        Renewal::Held { cancel: false }
    );
    let expired = table.reap(at(10));
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].lease, silent);
    assert_eq!(expired[0].setback, Setback::Requeued);
    assert_eq!(table.next_deadline(), Some(at(70)));
    assert!(!table.expire(silent.shard), "nobody has it");
    assert!(!table.expire(9), "unknown");
}

#[test]
fn renewal_extends_by_the_ttl_or_four_slow_ticks() {
    let mut table = table(1);
    let lease = take(&mut table, "a", at(0));
    table.renew("a", lease, 20, at(20));
    assert_eq!(table.next_deadline(), Some(at(80)));
    table.renew("a", lease, 21, at(60));
    assert_eq!(table.next_deadline(), Some(at(60 + 160)));
    table.renew("a", lease, 21, at(61));
    assert_eq!(table.next_deadline(), Some(at(220)), "never shortened");
}

#[test]
fn errors_and_crashes_are_counted_apart() {
    let mut table = table(1);
    let mut now = at(0);
    for error in 1..=2 {
        let lease = take(&mut table, "a", now);
        let setback = table.fail("a", lease, ErrorClass::Transient, "busy", now);
        let expected = now + Backoff::default().delay(0, error);
        assert_eq!(setback, Setback::RetryAt(expected));
        if expected > now {
            assert!(table.take("a", &[], now).is_none());
        }
        now = expected;
        take(&mut table, "a", now);
        assert_eq!(table.owner_lost("a")[0].setback, Setback::Requeued);
    }
    let lease = take(&mut table, "a", now);
    let setback = table.fail("a", lease, ErrorClass::DeviceLost, "gone: really", now);
    assert_eq!(setback, Setback::Dead);
    let letter = table.dead_letters().next().unwrap();
    assert_eq!((letter.errors, letter.crashes), (3, 2));
    let (class, message) = (ErrorClass::DeviceLost, "gone: really".to_owned());
    assert_eq!(letter.failure, Failure::Error { class, message });
    assert!(table.take("a", &[], at(10_000)).is_none());
}

#[test]
fn the_third_crash_is_the_last() {
    let mut table = table(1);
    for setback in [Setback::Requeued, Setback::Requeued, Setback::Dead] {
        take(&mut table, "a", at(0));
        assert_eq!(table.reap(TTL)[0].setback, setback);
    }
    assert_eq!(table.dead_letter(0).unwrap().failure, Failure::Crash);
    assert!(table.revive(0) && !table.revive(0));
    let lease = take(&mut table, "a", at(0));
    assert_eq!(table.complete("a", lease), Finish::InTime);
    assert!(!table.revive(0));
}

#[test]
fn what_cannot_get_better_is_dead_at_once() {
    for class in [ErrorClass::BadInput, ErrorClass::Fatal] {
        let mut table = table(1);
        let lease = take(&mut table, "a", at(0));
        assert_eq!(table.fail("a", lease, class, "no", at(0)), Setback::Dead);
    }
}

#[test]
fn a_released_shard_is_free_of_blame_and_stands_behind_the_others() {
    let mut table = table(2);
    for round in 0..10 {
        let lease = take(&mut table, "a", at(0));
        assert_eq!(lease.shard, round % 2);
        assert_eq!(table.release("a", lease), Setback::Requeued);
    }
    assert_eq!(table.counts().queued, 2);
}

#[test]
fn a_late_result_revives_the_dead() {
    let mut table = table(1);
    let lease = take(&mut table, "a", at(0));
    table.fail("a", lease, ErrorClass::Fatal, "no", at(0));
    assert_eq!(table.complete("a", lease), Finish::Late);
    let counts = Counts {
        done: 1,
        ..Counts::default()
    };
    assert_eq!(table.counts(), counts);
}

#[test]
fn cancel_reaches_the_worker_through_renewal() {
    let mut table = table(3);
    let lease = take(&mut table, "a", at(0));
    assert!(table.cancel(0) && table.cancel(1) && !table.cancel(77));
    assert_eq!(
        table.renew("a", lease, 1, at(1)),
        Renewal::Held { cancel: true }
    );
    assert_eq!(table.release("a", lease), Setback::Cancelled);
    assert_eq!(table.complete("a", lease), Finish::Cancelled);
    assert_eq!(take(&mut table, "a", at(2)).shard, 2);
    assert_eq!(table.counts().cancelled, 2);
}

#[test]
fn pause_stops_taking_only() {
    let mut table = table(2);
    let lease = take(&mut table, "a", at(0));
    table.set_paused(true);
    assert!(table.take("a", &[], at(0)).is_none());
    assert_eq!(
        table.renew("a", lease, 1, at(1)),
        Renewal::Held { cancel: false }
    );
    assert_eq!(table.complete("a", lease), Finish::InTime);
    table.set_paused(false);
    assert_eq!(take(&mut table, "a", at(2)).shard, 1);
}

#[test]
fn long_messages_are_cut_at_a_character() {
    let mut table = table(1);
    let lease = take(&mut table, "a", at(0));
    let message = "\u{2192}".repeat(ERROR_TEXT_LIMIT);
    table.fail("a", lease, ErrorClass::Fatal, &message, at(0));
    let Failure::Error { message, .. } = table.dead_letter(0).unwrap().failure else {
        panic!("not an error");
    };
    assert_eq!(message.len(), ERROR_TEXT_LIMIT / 3 * 3);
}

#[derive(Debug, Clone)]
enum Step {
    Submit(u64),
    Take(usize),
    Renew(usize, usize),
    Complete(usize, usize),
    Fail(usize, usize, ErrorClass),
    Release(usize, usize),
    Lose(usize),
    Cancel(u64),
    Revive(u64),
    Pause(bool),
    Wait(u64),
}

const OWNERS: [&str; 3] = ["a", "b", "c"];
const SHARDS: u64 = 5;

fn step() -> impl Strategy<Value = Step> {
    let owner = 0..OWNERS.len();
    let lease = 0..12_usize;
    let class = prop_oneof![
        4 => Just(ErrorClass::Transient),
        1 => Just(ErrorClass::OutOfMemory),
        1 => Just(ErrorClass::BadInput),
    ];
    prop_oneof![
        3 => (0..SHARDS).prop_map(Step::Submit),
        6 => owner.clone().prop_map(Step::Take),
        3 => (owner.clone(), lease.clone()).prop_map(|(o, l)| Step::Renew(o, l)),
        3 => (owner.clone(), lease.clone()).prop_map(|(o, l)| Step::Complete(o, l)),
        3 => (owner.clone(), lease.clone(), class).prop_map(|(o, l, c)| Step::Fail(o, l, c)),
        1 => (owner.clone(), lease).prop_map(|(o, l)| Step::Release(o, l)),
        1 => owner.prop_map(Step::Lose),
        1 => (0..SHARDS).prop_map(Step::Cancel),
        1 => (0..SHARDS).prop_map(Step::Revive),
        1 => any::<bool>().prop_map(Step::Pause),
        4 => (0..90_u64).prop_map(Step::Wait),
    ]
}

/// What an outside observer knows.
#[derive(Default)]
struct Observer {
    now: Duration,
    submitted: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// The last lease given of each shard, with its owner.
    live: BTreeMap<u64, (usize, LeaseId)>,
    given: Vec<LeaseId>,
}

impl Observer {
    fn lease(&self, index: usize) -> LeaseId {
        let nothing = LeaseId { shard: 0, epoch: 0 };
        let newest_first = self.given.iter().rev().nth(index);
        newest_first.copied().unwrap_or(nothing)
    }

    fn apply(&mut self, table: &mut LeaseTable<u64>, step: Step) {
        match step {
            Step::Submit(shard) => assert_eq!(
                table.submit(shard, 0, Priority::Normal, Vec::new()),
                self.submitted.insert(shard)
            ),
            Step::Take(owner) => {
                if let Some(grant) = table.take(OWNERS[owner], &[], self.now) {
                    let lease = grant.lease;
                    assert!(!self.live.contains_key(&lease.shard), "two live leases");
                    assert!(!self.done.contains(&lease.shard), "done is final");
                    assert!(self.given.iter().all(|old| old.epoch != lease.epoch));
                    self.live.insert(lease.shard, (owner, lease));
                    self.given.push(lease);
                }
            }
            Step::Renew(owner, index) => {
                let lease = self.lease(index);
                let held = self.holds(owner, lease);
                let renewal = table.renew(OWNERS[owner], lease, 1, self.now);
                assert_eq!(renewal != Renewal::Lost, held);
            }
            Step::Complete(owner, index) => {
                let lease = self.lease(index);
                let held = self.holds(owner, lease);
                match table.complete(OWNERS[owner], lease) {
                    Finish::InTime => assert!(held),
                    Finish::Late => assert!(!held),
                    Finish::Repeated => return assert!(self.done.contains(&lease.shard)),
                    Finish::Cancelled | Finish::Unknown => return,
                }
                assert!(self.done.insert(lease.shard), "two firsts");
                self.live.remove(&lease.shard);
            }
            Step::Fail(owner, index, class) => {
                let lease = self.lease(index);
                let held = self.holds(owner, lease);
                let setback = table.fail(OWNERS[owner], lease, class, "no", self.now);
                assert_eq!(setback != Setback::NotHeld, held);
                if held {
                    self.live.remove(&lease.shard);
                }
            }
            Step::Release(owner, index) => {
                let lease = self.lease(index);
                let held = self.holds(owner, lease);
                assert_eq!(
                    table.release(OWNERS[owner], lease) != Setback::NotHeld,
                    held
                );
                if held {
                    self.live.remove(&lease.shard);
                }
            }
            Step::Lose(owner) => {
                let expired = table.owner_lost(OWNERS[owner]);
                self.expire(&expired);
                assert!(self.live.values().all(|(holder, _)| *holder != owner));
            }
            Step::Cancel(shard) => {
                table.cancel(shard);
            }
            Step::Revive(shard) => {
                table.revive(shard);
            }
            Step::Pause(paused) => table.set_paused(paused),
            Step::Wait(seconds) => {
                self.now += at(seconds);
                let expired = table.reap(self.now);
                self.expire(&expired);
            }
        }
    }

    fn holds(&self, owner: usize, lease: LeaseId) -> bool {
        self.live.get(&lease.shard) == Some(&(owner, lease))
    }

    fn expire(&mut self, expired: &[Expired]) {
        for gone in expired {
            let (_, lease) = self.live.remove(&gone.lease.shard).unwrap();
            assert_eq!(lease, gone.lease);
        }
    }

    fn check(&self, table: &LeaseTable<u64>) {
        let counts = table.counts();
        let all = counts.outstanding() + counts.done + counts.dead + counts.cancelled;
        assert_eq!(all, self.submitted.len() as u64, "a shard is lost");
        assert_eq!(counts.leased, self.live.len() as u64);
        assert_eq!(counts.done, self.done.len() as u64);
        assert_eq!(counts.dead, table.dead_letters().count() as u64);
        for letter in table.dead_letters() {
            assert!(letter.errors <= 3 && letter.crashes <= 3);
        }
    }
}

proptest! {
    #[test]
    fn no_shard_is_lost_whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let mut table = LeaseTable::new(LeaseConfig::default());
        let mut observer = Observer::default();
        for step in steps {
            observer.apply(&mut table, step);
            observer.check(&table);
        }
        // After the trouble, one good worker finishes everything that is still wanted.
        observer.apply(&mut table, Step::Pause(false));
        observer.apply(&mut table, Step::Wait(10_000));
        while let Some(grant) = table.take("a", &[], observer.now) {
            let lease = grant.lease;
            prop_assert_eq!(table.complete("a", lease), Finish::InTime);
        }
        let counts = table.counts();
        prop_assert_eq!(counts.outstanding(), 0);
        let all = counts.done + counts.dead + counts.cancelled;
        prop_assert_eq!(all, observer.submitted.len() as u64);
    }
}
