//! The measurement of a sweep at scale, in small: that it runs, and that its figures are those of a whole run.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anofpdm_tests::scale::measurement::measure;
use anofpdm_tests::scale::{Size, Workers};

#[test]
fn a_sweep_of_real_slices_is_scored_and_told() {
    let size = Size {
        slices: 40,
        workers: Workers::Processes(2),
        evaluation: Duration::from_millis(200),
    };
    let figures = measure(&size, &AtomicBool::new(false));
    // Twelve rows, three seeds.
    assert_eq!((figures.planned, figures.scored), (40 * 36, 40 * 36));
    // Under two bytes of each pixel of the head, and slices to be looked at, which are many among so few.
    let each = figures.record_bytes / figures.scored;
    assert!((7_000..13_000).contains(&each), "{each} bytes");
    assert!(figures.shards >= 6.0, "{} shards", figures.shards);
    assert!(figures.shard.device > 0.0 && figures.shard.held >= figures.shard.records);
    assert!(figures.coordinator_cpu > 0.0 && figures.report_peak > 1 << 20);
    assert!(figures.series > 200, "{} series", figures.series);
    assert!(figures.calls["complete"].0 >= figures.shards);
}

#[test]
fn many_workers_of_one_process_are_a_fleet() {
    let size = Size {
        slices: 20,
        workers: Workers::Simulated(30),
        evaluation: Duration::from_millis(100),
    };
    let figures = measure(&size, &AtomicBool::new(false));
    assert_eq!((figures.planned, figures.scored), (60, 60));
    assert!(figures.shards >= 60.0, "{} shards", figures.shards);
    // Each has a connection to ask and one to wait.
    assert!(figures.clients >= 60, "{} clients", figures.clients);
    assert!(figures.coordinator_calls["poll"].0 > 0.0);
}
