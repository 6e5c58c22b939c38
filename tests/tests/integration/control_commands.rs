//! The operator's commands on runs at work: seen, paused, resumed, cancelled, retried; the answer stays the same.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::chaos::fixture::{DrillFixture, SPEC_FILE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a run that must not move is looked at.
const STILL: Duration = Duration::from_secs(2);

/// A run at work; killed when dropped.
struct Running<'a> {
    fixture: &'a DrillFixture,
    run: &'a str,
    coordinator: Child,
}

impl<'a> Running<'a> {
    /// Starts a run on two workers; `faults` are added to those of the fixture.
    fn start(fixture: &'a DrillFixture, run: &'a str, faults: &str) -> Self {
        Self::start_on(fixture, run, "local", faults)
    }

    fn start_on(fixture: &'a DrillFixture, run: &'a str, queue: &str, faults: &str) -> Self {
        let (name, value) = fixture.device(faults);
        let log = File::options()
            .create(true)
            .append(true)
            .open(log(fixture, run))
            .unwrap();
        let coordinator = fixture
            .command("anofpdm", &["run", SPEC_FILE, "--dir", run])
            .args(["--queue", queue, "--device", "cpu", "--workers", "2"])
            // An audit does finished work again.
            .args(["--audit", "0"])
            .env(name, value)
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self {
            fixture,
            run,
            coordinator,
        }
    }

    /// Waits until the run says so of itself.
    fn until(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = status(self.fixture, self.run);
            if status.as_ref().is_some_and(&condition) {
                return status.unwrap();
            }
            let ended = self.coordinator.try_wait().unwrap();
            let log = || std::fs::read_to_string(log(self.fixture, self.run)).unwrap_or_default();
            assert!(ended.is_none(), "{what}: the run ended\n{}", log());
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: {status:?}\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_under_way(&mut self) -> Value {
        let (fixture, run) = (self.fixture, self.run);
        self.until("a share of the records is there", |_| {
            fixture.progress(run) > 0.2
        })
    }

    fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.coordinator.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the run does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended.
        self.coordinator.kill().ok();
        self.coordinator.wait().ok();
    }
}

fn log(fixture: &DrillFixture, run: &str) -> PathBuf {
    fixture.path().join(format!("{run}.log"))
}

/// `status --json`; none before there is a run.
fn status(fixture: &DrillFixture, run: &str) -> Option<Value> {
    let output = command(fixture, &["status", run, "--json"]);
    let text = output.status.success().then_some(output.stdout)?;
    Some(serde_json::from_slice(&text).unwrap())
}

fn command(fixture: &DrillFixture, arguments: &[&str]) -> Output {
    fixture.command("anofpdm", arguments).output().unwrap()
}

/// Runs a command that must succeed; returns what it printed.
fn succeeds(fixture: &DrillFixture, arguments: &[&str]) -> String {
    fixture.succeeds("anofpdm", arguments)
}

/// Runs a command whose output is JSON.
fn json(fixture: &DrillFixture, arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeds(fixture, &[arguments, &["--json"]].concat())).unwrap()
}

/// Records finished in all stages.
fn finished(status: &Value) -> u64 {
    let stages = status["stages"].as_array().unwrap();
    stages.iter().map(|s| s["finished"].as_u64().unwrap()).sum()
}

fn nobody_at_work_in_a_paused_run(status: &Value) -> bool {
    status["live"]["paused"] == true && status["live"]["shards"]["leased"] == 0
}

/// Looks at a run for a while: nothing must get finished.
fn stands_still(running: &mut Running<'_>) {
    let before = running.until("every worker has let go", nobody_at_work_in_a_paused_run);
    std::thread::sleep(STILL);
    let after = running.until("it is paused still", nobody_at_work_in_a_paused_run);
    assert_eq!(finished(&before), finished(&after));
    assert!(before["live"]["work"]["done"].as_u64() < before["live"]["work"]["total"].as_u64());
}

#[test]
fn a_paused_run_stands_still_until_it_is_resumed_and_gives_the_same_answer() {
    let fixture = DrillFixture::shared();
    let mut running = Running::start(&fixture, "paused", "");
    let status = running.until_under_way();
    assert_eq!(
        (&status["running"], &status["paused"]),
        (&true.into(), &false.into())
    );

    let said = succeeds(&fixture, &["pause", "paused"]);
    assert!(said.contains("anofpdm resume paused"), "{said}");
    stands_still(&mut running);
    let text = succeeds(&fixture, &["status", "paused"]);
    assert!(text.contains("running, paused"), "{text}");
    let again = json(&fixture, &["pause", "paused"]);
    assert_eq!(
        (&again["changed"], &again["coordinator"]),
        (&false.into(), &"taken-note".into())
    );

    // A pause outlives the coordinator that was told of it.
    running.coordinator.kill().unwrap();
    running.end();
    let text = succeeds(&fixture, &["status", "paused"]);
    assert!(text.contains("the next run starts paused"), "{text}");
    let mut running = Running::start(&fixture, "paused", "");
    stands_still(&mut running);

    let said = succeeds(&fixture, &["resume", "paused"]);
    assert!(said.contains("given out again"), "{said}");
    assert!(running.end().success());
    assert_eq!(&fixture.outcome("paused").0, fixture.answer());
    let text = succeeds(&fixture, &["status", "paused"]);
    assert!(text.contains("is finished"), "{text}");
}

#[test]
fn a_cancelled_run_ends_in_good_order_and_a_later_one_goes_on() {
    let fixture = DrillFixture::shared();
    let mut running = Running::start(&fixture, "cancelled", "");
    running.until_under_way();
    let said = json(&fixture, &["cancel", "cancelled"]);
    assert_eq!(said["coordinator"], "taken-note");
    assert_eq!(running.end().code(), Some(130));
    let said = std::fs::read_to_string(log(&fixture, "cancelled")).unwrap();
    assert!(
        said.contains("stopped: cancelled by `anofpdm cancel`"),
        "{said}"
    );
    let left = status(&fixture, "cancelled").unwrap();
    assert_eq!(left["running"], false);
    assert_eq!(left["live"]["ended"]["outcome"], "cancelled");

    // Nobody is there who could obey; a request that lies there all the same is not for the next coordinator.
    let complaint = fixture.fails("anofpdm", &["cancel", "cancelled"], 1);
    assert!(
        complaint.contains("no coordinator is at work on cancelled"),
        "{complaint}"
    );
    let complaint = fixture.fails("anofpdm", &["watch", "cancelled"], 1);
    assert!(
        complaint.contains("anofpdm status cancelled"),
        "{complaint}"
    );
    let late = fixture.path().join("cancelled/control/request-0.json");
    std::fs::write(&late, "{\"ask\":\"cancel\"}").unwrap();
    let said = succeeds(&fixture, &["resume", "cancelled"]);
    assert!(said.contains("was not paused"), "{said}");

    let mut running = Running::start(&fixture, "cancelled", "");
    assert!(running.end().success());
    assert!(!late.exists());
    let (answer, coverage) = fixture.outcome("cancelled");
    assert_eq!(&answer, fixture.answer());
    assert_eq!(coverage.duplicates, 0, "nothing finished was done again");
}

#[test]
fn redis_is_paused_too_and_a_cancelled_run_leaves_nothing_in_it() {
    let fixture = DrillFixture::shared();
    let redis = RedisServer::start(RedisOptions::default());
    let mut running = Running::start_on(&fixture, "redis", &redis.url(), "");
    running.until_under_way();
    succeeds(&fixture, &["pause", "redis"]);
    stands_still(&mut running);
    let said = json(&fixture, &["cancel", "redis"]);
    assert_eq!(said["coordinator"], "taken-note");
    assert_eq!(running.end().code(), Some(130));
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut redis.connection())
        .unwrap();
    assert_eq!(keys, [""; 0], "something of the run is left");

    succeeds(&fixture, &["resume", "redis"]);
    let mut running = Running::start_on(&fixture, "redis", &redis.url(), "");
    assert!(running.end().success());
    let (answer, coverage) = fixture.outcome("redis");
    assert_eq!(&answer, fixture.answer());
    assert_eq!(coverage.duplicates, 0, "nothing finished was done again");
}

#[test]
fn dead_shards_are_listed_shown_and_retried_and_outlive_the_run() {
    let fixture = DrillFixture::shared();
    let trained = ["run", SPEC_FILE, "--dir", "dying", "--device", "cpu"];
    succeeds(&fixture, &[&trained[..], &["--until", "train"]].concat());
    let mut running = Running::start(&fixture, "dying", ",error=1");
    let dead = |status: &Value| status["live"]["shards"]["dead"].as_u64() > Some(0);
    running.until("a shard is given up", dead);
    // So that the others cannot die too, and end the run, while we look.
    succeeds(&fixture, &["pause", "dying"]);
    running.until("every worker has let go", nobody_at_work_in_a_paused_run);
    let letters = json(&fixture, &["dead", "ls", "dying"]);
    let shard = letters["dead"][0]["shard"].to_string();
    let shown = succeeds(&fixture, &["dead", "show", "dying", &shard]);
    for part in [
        "an error injected by",
        "calibrate batch",
        "Transient",
        "3 errors, 0 crashes",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let complaint = fixture.fails("anofpdm", &["dead", "retry", "dying", "987654"], 2);
    assert!(
        complaint.contains("shard 987654 is not dead"),
        "{complaint}"
    );
    let count = letters["dead"].as_array().unwrap().len();
    let retried = json(&fixture, &["dead", "retry", "dying", &shard]);
    assert_eq!(
        (&retried["shards"], &retried["coordinator"]),
        (&1.into(), &"taken-note".into())
    );
    running.until("it is offered again", |status| {
        status["live"]["shards"]["dead"].as_u64() == Some(count as u64 - 1)
    });
    succeeds(&fixture, &["dead", "retry", "dying", "--all"]);
    running.until("all are offered again", |status| !dead(status));

    succeeds(&fixture, &["resume", "dying"]);
    assert_eq!(running.end().code(), Some(1));
    let letters = json(&fixture, &["dead", "ls", "dying"]);
    assert_eq!(letters["running"], false);
    let shard = letters["dead"][0]["shard"].to_string();
    let shown = succeeds(&fixture, &["dead", "show", "dying", &shard]);
    assert!(shown.contains("an error injected by"), "{shown}");
    let complaint = fixture.fails("anofpdm", &["dead", "retry", "dying", "--all"], 1);
    assert!(
        complaint.contains("offers every unfinished shard again"),
        "{complaint}"
    );
    let text = succeeds(&fixture, &["status", "dying"]);
    assert!(
        text.contains("stopped: ") && text.contains("anofpdm dead ls"),
        "{text}"
    );

    let mut running = Running::start(&fixture, "dying", "");
    assert!(running.end().success());
    assert_eq!(&fixture.outcome("dying").0, fixture.answer());
    let said = succeeds(&fixture, &["dead", "ls", "dying"]);
    assert!(said.contains("no dead shards"), "{said}");
}

#[test]
fn a_run_is_seen_while_it_works_and_watched_to_its_end() {
    let fixture = DrillFixture::shared();
    let mut running = Running::start(&fixture, "watched", "");
    running.until("workers work", |status| {
        status["live"]["workers"]
            .as_array()
            .is_some_and(|workers| workers.len() == 2)
    });
    let watching = |arguments: &[&str]| {
        fixture
            .command("anofpdm", &[&["watch", "watched"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (lines, documents, stopped) = (watching(&[]), watching(&["--json"]), watching(&[]));
    let seen = running.until("shards are with workers", |status| {
        status["live"]["stage"] == "score" && status["live"]["shards"]["leased"] != 0
    });
    let live = &seen["live"];
    assert_eq!(live["work"]["unit"], "slices");
    assert!(live["work"]["done"].as_u64() <= live["work"]["total"].as_u64());
    assert_eq!(
        live["queue"].as_str().unwrap().split(':').next(),
        Some("unix")
    );
    let text = succeeds(&fixture, &["status", "watched"]);
    for part in [
        "is running",
        "score",
        "shards ",
        "workers      2",
        "version",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Ctrl-C ends the view and not the run.
    kill_process(Pid::from_child(&stopped), Signal::INT).unwrap();
    assert_eq!(stopped.wait_with_output().unwrap().status.code(), Some(130));
    assert!(running.coordinator.try_wait().unwrap().is_none());

    assert!(running.end().success());
    let lines = lines.wait_with_output().unwrap();
    assert!(lines.status.success());
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(
        lines.contains("score: ") && lines.contains("shards: "),
        "{lines}"
    );
    assert!(
        lines
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("has finished"),
        "{lines}"
    );
    assert!(
        !lines.contains('\u{1b}'),
        "no terminal, no escape sequences"
    );
    let documents = documents.wait_with_output().unwrap();
    assert!(documents.status.success());
    let documents: Vec<Value> = String::from_utf8(documents.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(documents.len() > 2);
    assert_eq!(documents.last().unwrap()["ended"]["outcome"], "finished");
    // What has finished is told of, and is no error.
    let said = succeeds(&fixture, &["watch", "watched"]);
    assert!(
        said.contains("watched has finished: its report is in watched/report"),
        "{said}"
    );
    assert_eq!(&fixture.outcome("watched").0, fixture.answer());
}

#[test]
fn what_only_prints_ends_quietly_when_nobody_reads() {
    let fixture = DrillFixture::shared();
    for arguments in [&["runs"][..], &["gc", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = fixture.command("anofpdm", arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let ended = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(141), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    }
}
