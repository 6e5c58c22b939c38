//! Coordinator and workers are killed at random moments: same answer, nothing lost, nothing done twice.

use std::process::Command;
use std::time::Duration;

use anofpdm_common::random::{Domain, Stream};
use anofpdm_tests::fixture::Fixture;

/// Kills of each kind.
const KILLS: u64 = 10;

/// Without audits: which shards they repeat depends on how the work was cut, and duplicates are compared here.
fn run_arguments(run: &str) -> [&str; 8] {
    [
        "run",
        "tiny.toml",
        "--dir",
        run,
        "--workers",
        "2",
        "--audit",
        "0",
    ]
}

/// A pause between `least` and three times as long.
fn pause(stream: &mut Stream, least: Duration) {
    std::thread::sleep(least.mul_f64(1.0 + 2.0 * stream.uniform()));
}

#[test]
fn a_killed_coordinator_goes_on_where_it_was() {
    let fixture = Fixture::new();
    fixture.succeeds("anofpdm", &run_arguments("undisturbed"));
    let mut stream = Stream::new(1, Domain::Kill, 0, 0);
    let mut kills = 0;
    for _ in 0..KILLS {
        let mut coordinator = fixture.start("anofpdm", &run_arguments("killed"));
        pause(&mut stream, Duration::from_millis(300));
        let finished = coordinator.try_wait().unwrap().is_some();
        coordinator.kill().unwrap();
        coordinator.wait().unwrap();
        kills += u64::from(!finished);
    }
    assert!(kills >= 3, "only {kills} kills hit a running coordinator");
    fixture.succeeds("anofpdm", &run_arguments("killed"));
    compare(&fixture, "undisturbed", "killed");
}

#[test]
fn killed_workers_are_replaced() {
    let fixture = Fixture::new();
    fixture.succeeds("anofpdm", &run_arguments("undisturbed"));
    let mut stream = Stream::new(2, Domain::Kill, 0, 0);
    let mut coordinator = fixture.start("anofpdm", &run_arguments("killed"));
    let mut kills = 0;
    while kills < KILLS && coordinator.try_wait().unwrap().is_none() {
        pause(&mut stream, Duration::from_millis(300));
        // The youngest child of the coordinator: one of its workers.
        let killed = Command::new("pkill")
            .args([
                "-KILL",
                "--newest",
                "--parent",
                &coordinator.id().to_string(),
            ])
            .status()
            .unwrap();
        kills += u64::from(killed.success());
    }
    assert!(kills >= 3, "only {kills} workers were killed");
    let status = coordinator.wait().unwrap();
    if !status.success() {
        // A shard that lost three workers is given up by design; running again goes on.
        fixture.succeeds("anofpdm", &run_arguments("killed"));
    }
    compare(&fixture, "undisturbed", "killed");
}

fn compare(fixture: &Fixture, undisturbed: &str, killed: &str) {
    let (want, got) = (fixture.summary(undisturbed), fixture.summary(killed));
    assert_eq!(got["fingerprint"], want["fingerprint"]);
    assert_eq!(got["rows"], want["rows"]);
    assert_eq!(
        got["coverage"], want["coverage"],
        "no slice lost, none counted twice"
    );
    assert_eq!(
        got["cost"]["network_evaluations"], want["cost"]["network_evaluations"],
        "no finished batch was computed twice"
    );
}
