//! A worker whose device flips a bit now and then is found out, retired, and nothing it said alone counts.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::chaos::fixture::{DrillFixture, SPEC_FILE};
use anofpdm_tests::fake;

/// Exit code of a worker whose device must not be used again.
const RETIRED: i32 = 3;

/// A program that is killed when the test ends.
struct Running(Child);

impl Running {
    fn start(mut command: Command, log: &std::path::Path) -> Self {
        let log = File::create(log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self(child)
    }

    fn ends_within(&mut self, limit: Duration) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn worker(fixture: &DrillFixture, url: &str, faults: &str) -> Command {
    let mut command = fixture.command(fake::PROGRAM, &["run", "--queue", url]);
    let (name, value) = fixture.device(faults);
    command.env(name, value);
    command
}

/// Bits are flipped at other places with each seed.
fn flips_are_found_out(seed: u64) {
    let fixture = DrillFixture::shared();
    let redis = RedisServer::start(RedisOptions::default());
    let url = redis.url();
    let log = |name: &str| fixture.path().join(format!("{name}-{seed}.log"));
    let honest: Vec<Running> = (0..3)
        .map(|n| Running::start(worker(&fixture, &url, ""), &log(&format!("honest-{n}"))))
        .collect();
    let faults = format!(",seed={seed},flip=0.15");
    let mut flipping = Running::start(worker(&fixture, &url, &faults), &log("flipping"));

    let run = format!("audited-{seed}");
    let arguments = [
        "run", SPEC_FILE, "--dir", &run, "--queue", &url, "--audit", "1",
    ];
    let mut coordinator = fixture.command("anofpdm", &arguments);
    let said = coordinator.output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let (answer, coverage) = fixture.outcome(&run);

    assert_eq!(&answer, fixture.answer(), "no wrong record counts\n{said}");
    assert_eq!(coverage.planned, coverage.scored);
    assert!(
        said.contains("conflict: the same key with different bits"),
        "{said}"
    );
    assert!(said.contains("a worker is retired"), "{said}");
    let code = flipping.ends_within(Duration::from_secs(120));
    assert_eq!(code, Some(RETIRED), "the flipping worker ends");
    drop(honest);
    let complaint = std::fs::read_to_string(log("flipping")).unwrap();
    assert!(complaint.contains("retired this worker"), "{complaint}");
    println!("seed {seed}: {coverage:?}");
}

#[test]
fn a_device_that_flips_bits_is_found_out_with_the_first_seed() {
    flips_are_found_out(1);
}

#[test]
fn a_device_that_flips_bits_is_found_out_with_the_second_seed() {
    flips_are_found_out(2);
}

#[test]
fn a_device_that_flips_bits_is_found_out_with_the_third_seed() {
    flips_are_found_out(3);
}

#[test]
fn a_device_that_flips_bits_is_found_out_with_the_fourth_seed() {
    flips_are_found_out(4);
}

#[test]
fn two_runs_share_a_redis_and_its_workers() {
    let fixture = DrillFixture::shared();
    let redis = RedisServer::start(RedisOptions::default());
    let url = redis.url();
    let workers: Vec<Running> = (0..3)
        .map(|n| {
            let log = fixture.path().join(format!("shared-{n}.log"));
            Running::start(worker(&fixture, &url, ""), &log)
        })
        .collect();
    let start = |run: &str| {
        let arguments = ["run", SPEC_FILE, "--dir", run, "--queue", &url];
        let log = fixture.path().join(format!("{run}.log"));
        Running::start(fixture.command("anofpdm", &arguments), &log)
    };
    let (mut a, mut b) = (start("run-a"), start("run-b"));
    for (run, process) in [("run-a", &mut a), ("run-b", &mut b)] {
        let code = process.ends_within(Duration::from_secs(300));
        let log = std::fs::read_to_string(fixture.path().join(format!("{run}.log"))).unwrap();
        assert_eq!(code, Some(0), "{run}: {log}");
    }
    for run in ["run-a", "run-b"] {
        let (answer, coverage) = fixture.outcome(run);
        assert_eq!(&answer, fixture.answer(), "{run}");
        assert_eq!(coverage.conflicts, 0, "{run}");
    }
    drop(workers);
}
