//! What a worker tells Prometheus while it trains, read over HTTP from the real program.

use std::fs::File;
use std::net::TcpListener;
use std::process::Child;

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::fixture::{Fixture, SPEC};

use anofpdm_tests::prometheus_page::{SOON, get, port_in, samples, wait_for};

use super::prometheus_page::check_format;

/// A worker, and the port it says it serves its numbers at: the system chooses, so nobody else can take it before.
fn worker(fixture: &Fixture, url: &str, name: &str) -> (Child, u16) {
    let log = fixture.path().join(name);
    let arguments = ["run", "--queue", url, "--metrics", "127.0.0.1:0"];
    let child = fixture
        .command("anofpdm-worker", &arguments)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    (child, port_in(&log))
}

#[test]
fn two_ranks_count_what_they_train() {
    const STEPS: u32 = 150;
    let fixture = Fixture::new();
    let spec = SPEC
        .replace(
            "steps = 24\nbatch = 4",
            &format!("steps = {STEPS}\nbatch = 5"),
        )
        .replace("checkpoint_every = 6", "checkpoint_every = 50\ndevices = 2");
    assert!(spec.contains("devices = 2") && spec.contains("batch = 5"));
    fixture.write("two.toml", &spec);
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let started = ["worker-0.log", "worker-1.log"].map(|name| worker(&fixture, &url, name));
    let ports = [started[0].1, started[1].1];
    for port in ports {
        let health = wait_for("the endpoint", || get(port, "/healthz"));
        assert_eq!(health, "ok\n");
        let page = get(port, "/metrics").unwrap();
        assert!(
            !page.contains("world_size"),
            "nothing is trained yet: {page}"
        );
    }
    let arguments = [
        "run", "two.toml", "--dir", "r", "--queue", &url, "--until", "train",
    ];
    let log = fixture.path().join("coordinator.log");
    let mut coordinator = fixture
        .command("anofpdm", &arguments)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let labelled = |name: &str| format!("anofpdm_{name}{{network=\"guided\"}}");
    for port in ports {
        let (page, found) = wait_for("a step", || {
            let page = get(port, "/metrics")?;
            let found = samples(&page);
            found
                .contains_key(&labelled("train_loss"))
                .then_some((page, found))
        });
        check_format(&page);
        let value = |name: &str| {
            let value = found.get(&labelled(name));
            *value.unwrap_or_else(|| panic!("no {name} in\n{page}"))
        };
        assert_eq!(value("train_world_size"), 2.0);
        // Milliseconds of this century.
        assert!(value("train_generation") > 1.6e12);
        let loss = value("train_loss");
        assert!(loss.is_finite() && loss > 0.0);
        let age = value("checkpoint_age_seconds");
        assert!(age >= 0.0 && age < SOON.as_secs_f64());
        assert!(value("train_step_seconds_count") >= 1.0);
        assert!(value("train_allreduce_seconds_sum") > 0.0);
        assert!(value("train_allreduce_seconds_sum") < value("train_step_seconds_sum"));
    }
    assert!(coordinator.wait().unwrap().success());
    // The shares of a batch of five: three and two.
    let mut trained = ports.map(|port| {
        let found = wait_for("the end of the training", || {
            let found = samples(&get(port, "/metrics")?);
            (!found.contains_key(&labelled("train_world_size"))).then_some(found)
        });
        let told = std::fs::read_to_string(&log).unwrap();
        let steps = found[&labelled("train_step_seconds_count")];
        assert_eq!(steps, f64::from(STEPS), "{told}");
        assert!(!found.contains_key(&labelled("checkpoint_age_seconds")));
        found[&labelled("train_samples_total")]
    });
    trained.sort_by(f64::total_cmp);
    assert_eq!(trained, [2.0, 3.0].map(|share| share * f64::from(STEPS)));
    for (mut worker, _) in started {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let fixture = Fixture::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = [
        "run",
        "--queue",
        "redis://127.0.0.1:1",
        "--metrics",
        &address,
    ];
    let told = fixture.fails("anofpdm-worker", &arguments, 1);
    assert!(
        told.contains(&address) && told.contains("--metrics"),
        "{told}"
    );
    fixture.fails(
        "anofpdm-worker",
        &["run", "--queue", "redis://127.0.0.1:1", "--metrics", "9464"],
        2,
    );
}
