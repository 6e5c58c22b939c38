use super::*;

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A delivery of records given as `(key, bits)`.
fn delivered(worker: &str, shard: u64, records: &[(&str, &str)]) -> Entry {
    Entry::Delivered {
        stage: Stage::Score,
        records: records.iter().map(|(k, r)| (key(k), key(r))).collect(),
        evaluations: 2,
        padding: 1,
        device_millis: 3,
        worker: worker.to_owned(),
        lease: LeaseId { shard, epoch: 1 },
        audit: false,
    }
}

fn audit(worker: &str, shard: u64, records: &[(&str, &str)]) -> Entry {
    match delivered(worker, shard, records) {
        Entry::Delivered {
            stage,
            records,
            evaluations,
            padding,
            device_millis,
            worker,
            lease,
            ..
        } => Entry::Delivered {
            stage,
            records,
            evaluations,
            padding,
            device_millis,
            worker,
            lease,
            audit: true,
        },
        other => other,
    }
}

fn distrusted(worker: &str) -> Entry {
    Entry::Distrusted {
        worker: worker.to_owned(),
        reason: "wrong bits".to_owned(),
    }
}

#[test]
fn first_counts_equal_is_a_duplicate_different_waits_for_another_worker() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("k", "x")]));
    assert_eq!(ledger.record(key("k")), Some(key("x")));
    assert!(ledger.is_single(key("k")));
    ledger.apply(&delivered("a", 1, &[("k", "x")]));
    assert_eq!(ledger.duplicates, [key("k")]);
    assert!(
        ledger.is_single(key("k")),
        "the same worker twice is one word"
    );

    let applied = ledger.apply(&delivered("b", 2, &[("k", "y")]));
    assert_eq!(applied.conflicts, [key("k")]);
    assert_eq!(applied.contested, [key("k")]);
    assert_eq!(ledger.record(key("k")), None, "neither counts");
    assert_eq!(ledger.conflicts, [key("k")]);
    assert_eq!((ledger.contested(), ledger.finished[&Stage::Score]), (1, 0));
    assert_eq!(ledger.deliverers(key("k")), ["a", "b"]);

    // The same worker saying it again decides nothing.
    let applied = ledger.apply(&delivered("b", 3, &[("k", "y")]));
    assert_eq!(applied.contested, [key("k")]);
    assert_eq!(ledger.record(key("k")), None);

    let applied = ledger.apply(&delivered("c", 4, &[("k", "x")]));
    assert_eq!(applied.outcomes, [RecordOutcome::Counted]);
    assert!(applied.conflicts.is_empty() && applied.contested.is_empty());
    assert_eq!(ledger.record(key("k")), Some(key("x")));
    assert_eq!((ledger.contested(), ledger.finished[&Stage::Score]), (0, 1));
    assert_eq!(ledger.suspects(), ["b"]);
    // One delivery brought something new, four did not.
    assert_eq!(ledger.cost[&Stage::Score].evaluations, 2);
    assert_eq!(ledger.repeated.evaluations, 8);
}

#[test]
fn what_only_a_distrusted_worker_delivered_is_computed_again() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("both", "1"), ("wrong", "2")]));
    ledger.apply(&delivered(
        "bad",
        1,
        &[("both", "1"), ("alone", "3"), ("wrong", "?")],
    ));
    ledger.apply(&delivered("c", 2, &[("wrong", "2")]));
    assert_eq!(ledger.suspects(), ["bad"]);
    assert_eq!(ledger.finished[&Stage::Score], 3);

    let applied = ledger.apply(&distrusted("bad"));
    assert_eq!(applied.contested, [key("alone")]);
    assert!(ledger.suspects().is_empty());
    assert_eq!(ledger.distrusted["bad"], "wrong bits");
    assert_eq!(ledger.record(key("alone")), None);
    assert_eq!(
        ledger.record(key("both")),
        Some(key("1")),
        "another worker said so too"
    );
    assert_eq!(ledger.finished[&Stage::Score], 2);

    // What it said weighs nothing any more: the next word is the first that counts, and can be contradicted.
    let applied = ledger.apply(&delivered("c", 3, &[("alone", "4")]));
    assert_eq!(applied.outcomes, [RecordOutcome::Counted]);
    assert!(applied.conflicts.is_empty() && applied.contested.is_empty());
    assert_eq!(ledger.record(key("alone")), Some(key("4")));
    assert_eq!(ledger.finished[&Stage::Score], 3);
    assert!(ledger.is_single(key("alone")));
    let applied = ledger.apply(&delivered("a", 4, &[("alone", "3")]));
    assert_eq!(applied.conflicts, [key("alone")]);
    ledger.apply(&delivered("d", 5, &[("alone", "4")]));
    assert_eq!(ledger.record(key("alone")), Some(key("4")));
    assert_eq!(ledger.suspects(), ["a"]);
}

#[test]
fn two_who_agree_outvote_a_third_at_once() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("k", "x")]));
    ledger.apply(&delivered("b", 1, &[("k", "x")]));
    assert!(!ledger.is_single(key("k")));
    let applied = ledger.apply(&delivered("c", 2, &[("k", "y")]));
    assert_eq!(applied.conflicts, [key("k")]);
    assert!(applied.contested.is_empty(), "nothing is left to decide");
    assert_eq!(ledger.record(key("k")), Some(key("x")));
    assert_eq!(ledger.suspects(), ["c"]);
}

#[test]
fn a_delivery_is_recognised_by_worker_and_lease() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 7, &[("k", "x")]));
    let lease = |shard, epoch| LeaseId { shard, epoch };
    assert!(ledger.is_delivered("a", lease(7, 1)));
    assert!(!ledger.is_delivered("a", lease(7, 2)));
    assert!(!ledger.is_delivered("b", lease(7, 1)));
}

#[test]
fn audits_are_counted_apart_and_cost_the_run_nothing() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("k", "x"), ("l", "y")]));
    ledger.apply(&audit("b", 1, &[("k", "x"), ("l", "y")]));
    ledger.apply(&audit("c", 2, &[("k", "x"), ("l", "z")]));
    assert_eq!(
        ledger.audits,
        AuditCounts {
            shards: 2,
            agreed: 1,
            conflicts: 1
        }
    );
    assert_eq!(ledger.cost[&Stage::Score].evaluations, 2);
    assert_eq!(ledger.repeated.evaluations, 4);
    assert_eq!(ledger.duplicates.len(), 3);
}

#[test]
fn trained_weights_outlive_their_worker() {
    let mut ledger = Ledger::default();
    let mut entry = delivered("a", 0, &[("weights", "w")]);
    if let Entry::Delivered { stage, .. } = &mut entry {
        *stage = Stage::Train;
    }
    ledger.apply(&entry);
    assert_eq!(ledger.apply(&distrusted("a")), Applied::default());
    assert_eq!(ledger.record(key("weights")), Some(key("w")));
}

#[test]
fn a_hundred_thousand_deliveries_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut bytes = b"anofpdm journal 4\n".to_vec();
    for shard in 0..100_000_u64 {
        let name = shard.to_string();
        let worker = format!("host-{}-0123456789ab", shard % 8);
        let entry = delivered(&worker, shard, &[(&name, &name)]);
        bytes.extend(anofpdm_common::wire::encode(&entry).unwrap());
    }
    std::fs::write(&path, bytes).unwrap();
    let mut ledger = Ledger::default();
    let recovered = anofpdm_common::store::journal::Journal::open(&path, |entry: Entry| {
        ledger.apply(&entry);
    })
    .unwrap();
    assert_eq!(recovered.entries, 100_000);
    assert_eq!(ledger.finished[&Stage::Score], 100_000);
}

#[test]
fn what_is_delivered_afterwards_makes_the_time_of_scoring_unknown() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("k", "x")]));
    ledger.apply(&Entry::Scored { unix_seconds: 7 });
    // The same record again.
    ledger.apply(&delivered("b", 1, &[("k", "x")]));
    assert_eq!(ledger.scored, Some(7));
    ledger.apply(&delivered("a", 2, &[("l", "x")]));
    assert_eq!(ledger.scored, None);
}

#[test]
fn energy_is_added_up_with_the_time_it_is_of() {
    let mut ledger = Ledger::default();
    ledger.apply(&delivered("a", 0, &[("k", "x")]));
    assert_eq!(ledger.energy, Energy::default());
    for _ in 0..2 {
        ledger.apply(&Entry::Energy {
            millijoules: 1_500,
            device_millis: 3,
        });
    }
    let both = Energy {
        millijoules: 3_000,
        device_millis: 6,
    };
    assert_eq!(ledger.energy, both);
    assert_eq!(ledger.cost[&Stage::Score].device_millis, 3);
}
