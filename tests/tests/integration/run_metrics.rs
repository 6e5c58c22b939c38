//! What the coordinator tells Prometheus, read over HTTP beside what `status` says, and workers that end by themselves.

use std::fs::File;
use std::process::{Child, Stdio};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::chaos::fixture::{DrillFixture, SPEC_FILE};
use anofpdm_tests::fake;
use anofpdm_tests::prometheus_page::{get, port_in, samples, sum, wait_for};
use serde_json::Value;

use super::prometheus_page::check_format;

/// A process that goes with its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_page_says_what_status_says_and_adds_up_to_the_summary() {
    let fixture = DrillFixture::shared();
    let (name, faults) = fixture.device("");
    let log = fixture.path().join("metrics.log");
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let run = [
        "run",
        SPEC_FILE,
        "--dir",
        "metrics",
        "--queue",
        &url,
        "--device",
        "cpu",
        "--workers",
        "2",
        "--audit",
        "1",
        "--metrics",
        "127.0.0.1:0",
    ];
    let coordinator = fixture
        .command("anofpdm", &run)
        .env(name, faults)
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut coordinator = Started(coordinator);
    let port = port_in(&log);
    let first = wait_for("the first page", || get(port, "/metrics"));
    check_format(&first);
    assert!(
        first.contains("anofpdm_shard_ends_total{outcome=\"crashed\""),
        "{first}"
    );

    let status = || -> Value {
        let text = fixture.succeeds("anofpdm", &["status", "metrics", "--json"]);
        serde_json::from_str(&text).unwrap()
    };
    wait_for("scoring", || {
        let page = samples(&get(port, "/metrics")?);
        (sum(&page, "anofpdm_slices_scored_total", &["stage=\"score\""]) > 2.0).then_some(())
    });
    assert_eq!(get(port, "/livez").unwrap(), "ok\n");
    assert_eq!(get(port, "/readyz").unwrap(), "ok\n");
    fixture.succeeds("anofpdm", &["pause", "metrics"]);
    let still = wait_for("a run that stands still", || {
        let status = status();
        (status["live"]["paused"] == true && status["live"]["shards"]["leased"] == 0)
            .then_some(status)
    });
    // The page is made of the same look at the run; it is of this second or of the next.
    wait_for("the page of that second", || {
        let page = get(port, "/metrics")?;
        let found = samples(&page);
        let live = &still["live"];
        let agree = sum(&found, "anofpdm_paused", &[]) == 1.0
            && sum(&found, "anofpdm_stage_work", &["done"]) == number(&live["work"]["done"])
            && sum(&found, "anofpdm_stage_work", &["planned"]) == number(&live["work"]["total"])
            && ["queued", "leased", "retrying", "dead"]
                .iter()
                .all(|state| {
                    sum(&found, "anofpdm_shards", &[&format!("state=\"{state}\"")])
                        == number(&live["shards"][state])
                })
            && sum(&found, "anofpdm_workers", &[])
                == live["workers"].as_array().map_or(0, Vec::len) as f64
            && sum(&found, "anofpdm_contested_records", &[])
                == number(&live["verdicts"]["contested"]);
        agree.then_some(())
    });
    let page = samples(&get(port, "/metrics").unwrap());
    for stage in ["calibrate", "score"] {
        let label = format!("stage=\"{stage}\"");
        let there = sum(&page, "anofpdm_records", &[&label, "state=\"done\""]);
        let counted = sum(
            &page,
            "anofpdm_records_total",
            &[&label, "outcome=\"counted\""],
        );
        assert_eq!(there, counted, "{stage}");
        assert!(there > 0.0, "{stage}");
    }
    assert!(sum(&page, "anofpdm_workers_wanted", &[]) >= 1.0);
    assert!(
        sum(
            &page,
            "anofpdm_queue_call_seconds_count",
            &["call=\"poll\""]
        ) > 0.0
    );
    assert!(page.len() < 500, "{} series", page.len());

    fixture.succeeds("anofpdm", &["resume", "metrics"]);
    // Until it serves nothing any more.
    let mut last = page;
    while coordinator.0.try_wait().unwrap().is_none() {
        if let Some(page) = get(port, "/metrics") {
            last = samples(&page);
        }
    }
    assert!(coordinator.0.wait().unwrap().success());
    let (answer, coverage) = fixture.outcome("metrics");
    assert_eq!(&answer, fixture.answer());
    let summary = fixture.summary("metrics");
    let cost = &summary["cost"];
    // The page is served until it was read once more after the end.
    let outcome = |name: &str| {
        sum(
            &last,
            "anofpdm_run_ended",
            &[&format!("outcome=\"{name}\"")],
        )
    };
    assert_eq!((outcome("finished"), outcome("failed")), (1.0, 0.0));
    let scored = ["stage=\"score\""];
    for (name, labels, told) in [
        (
            "anofpdm_records_total",
            "outcome=\"counted\"",
            coverage.scored,
        ),
        (
            "anofpdm_records_total",
            "outcome=\"duplicate\"",
            coverage.duplicates,
        ),
        (
            "anofpdm_records_total",
            "outcome=\"conflict\"",
            coverage.conflicts,
        ),
    ] {
        let all = sum(&last, name, &[scored[0], labels]);
        // What only figures need is beside what is covered.
        let figures = sum(&last, name, &[scored[0], labels, "method=\"figures\""]);
        assert_eq!(all - figures, told as f64, "{labels}: {coverage:?}");
    }
    for (name, labels, told) in [
        (
            "anofpdm_evaluations_total",
            "kind=\"slice\"",
            &cost["network_evaluations"],
        ),
        (
            "anofpdm_evaluations_total",
            "kind=\"padding\"",
            &cost["padding"],
        ),
        ("anofpdm_audits_total", "", &summary["audits"]["shards"]),
        (
            "anofpdm_audits_total",
            "outcome=\"agreed\"",
            &summary["audits"]["agreed"],
        ),
    ] {
        assert_eq!(sum(&last, name, &[labels]), number(told), "{name} {labels}");
    }
    let seconds = sum(&last, "anofpdm_device_seconds_total", &[]);
    let told = number(&cost["device_seconds"]);
    assert!((seconds - told).abs() < 1e-6 * told, "{seconds} of {told}");
}

#[test]
fn a_worker_whose_device_hangs_ends_and_one_without_work_ends_when_asked() {
    let fixture = DrillFixture::shared();
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let worker = |name: &str, more: &[&str], faults: &str| {
        let arguments = ["run", "--queue", &url, "--data", ".", "--artifacts", "."];
        let child = fixture
            .command(fake::PROGRAM, &[&arguments[..], more].concat())
            .env(anofpdm_tests::fake::faults::ENVIRONMENT, faults)
            .stderr(File::create(fixture.path().join(name)).unwrap())
            .spawn()
            .unwrap();
        Started(child)
    };
    let mut idle = worker("idle.log", &["--exit-when-idle=1"], "");
    assert!(wait_for("the end of the idle one", || idle.0.try_wait().unwrap()).success());

    let run = [
        "run", SPEC_FILE, "--dir", "hung", "--queue", &url, "--until", "train",
    ];
    let _coordinator = Started(fixture.start("anofpdm", &run));
    // A step of a minute.
    let mut hung = worker("hung.log", &["--hang-seconds", "2"], "delay_ms=60000");
    let ended = wait_for("the end of the hung one", || hung.0.try_wait().unwrap());
    let told = std::fs::read_to_string(fixture.path().join("hung.log")).unwrap();
    assert_eq!(ended.code(), Some(4), "{told}");
    assert!(told.contains("does not move"), "{told}");
}
