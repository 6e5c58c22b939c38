//! What a worker tells Prometheus while it trains, read over HTTP from the real program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::fixture::{Fixture, SPEC};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// The body of a page, when it is served.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Some(body.to_owned())
}

/// The samples of a page by name and labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Every family has its help and type lines before its samples, and a name as `promtool check metrics` wants it.
fn check_format(page: &str) {
    let mut family: Option<(String, String)> = None;
    let mut helped = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty());
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "help comes first");
            assert!(name.starts_with("anofpdm_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (name, kind) = family.as_ref().unwrap();
            let sample = line.split(['{', ' ']).next().unwrap();
            let rest = sample.strip_prefix(name.as_str()).unwrap();
            let endings: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(endings.contains(&rest), "{line}");
        }
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < SOON, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A worker, and the port it says it serves its numbers at: the system chooses, so nobody else can take it before.
fn worker(fixture: &Fixture, url: &str, name: &str) -> (Child, u16) {
    let log = fixture.path().join(name);
    let arguments = ["run", "--queue", url, "--metrics", "127.0.0.1:0"];
    let child = fixture
        .command("anofpdm-worker", &arguments)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let port = wait_for("the port", || {
        let told = std::fs::read_to_string(&log).unwrap();
        let (_, rest) = told.split_once("metrics at http://127.0.0.1:")?;
        let (port, _) = rest.split_once("/metrics")?;
        port.parse().ok()
    });
    (child, port)
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
