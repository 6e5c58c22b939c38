//! One benchmark, one fingerprint: with one local worker or four, through Redis with one or four, and through Redis while
//! everything fails. `make chaos N=200` runs as many drills as asked.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use anofpdm_tests::chaos::drill::drill;
use anofpdm_tests::chaos::fixture::DrillFixture;
use anofpdm_tests::chaos::schedule::Kind;
use anofpdm_tests::chaos::tally::{Drill, Tally};

/// Drills, three of them of the last kind, in which some of everything goes wrong.
const DRILLS: [(Kind, u64); 12] = [
    (Kind::KillWorkers, 101),
    (Kind::Stall, 102),
    (Kind::RedisKill, 103),
    (Kind::Flushall, 104),
    (Kind::Network, 105),
    (Kind::Network, 106),
    (Kind::DiskFull, 107),
    (Kind::CoordinatorKill, 108),
    (Kind::DeviceFaults, 109),
    (Kind::Mixed, 110),
    (Kind::Mixed, 111),
    (Kind::Mixed, 112),
];

#[test]
fn the_answer_is_the_same_however_it_was_computed() {
    let fixture = DrillFixture::shared();
    // The answer of the fixture is that of local workers, as many as there are cores.
    for workers in ["1", "4"] {
        let run = format!("local-{workers}");
        let arguments = ["run", "chaos.toml", "--dir", &run];
        let workers = ["--device", "cpu", "--workers", workers];
        fixture.succeeds("anofpdm", &[&arguments[..], &workers[..]].concat());
        let (answer, coverage) = fixture.outcome(&run);
        assert_eq!(&answer, fixture.answer(), "{run}");
        assert_eq!(coverage.planned, coverage.scored, "{run}");
    }
    let mut tally = Tally::default();
    for drill in in_pairs(&fixture) {
        println!("{drill}");
        assert_eq!(drill.failure, None, "{drill}");
        tally.add(drill);
    }
    println!("{}", tally.total);
    assert!(tally.is_well());
    let faults: u64 = tally.total.faults.values().sum();
    assert!(faults >= 20, "only {faults} faults struck");
}

/// Two drills at a time: most of each is waiting.
fn in_pairs(fixture: &DrillFixture) -> Vec<Drill> {
    let interrupt = AtomicBool::new(false);
    let drills = [(Kind::Calm, 1, 1), (Kind::Calm, 4, 4)]
        .into_iter()
        .chain(DRILLS.map(|(kind, seed)| (kind, seed, 4)));
    let next = Mutex::new(drills);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((kind, seed, workers)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let drill = drill(fixture, kind, seed, workers, &interrupt);
                    done.lock().unwrap().push(drill);
                }
            });
        }
    });
    done.into_inner().unwrap()
}
