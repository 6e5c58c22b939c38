//! What the programs serve for Prometheus, read as a person would read it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(120);

/// The body of a page, when it is served.
pub(super) fn get(port: u16, path: &str) -> Option<String> {
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
pub(super) fn samples(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Every family has its help and type lines before its samples, and a name as `promtool check metrics` wants it.
pub(super) fn check_format(page: &str) {
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

pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < SOON, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The port at which a program says in its log that it serves its numbers: the system chooses, so nobody else can take it
/// before.
pub(super) fn port_in(log: &Path) -> u16 {
    wait_for("the port", || {
        let told = std::fs::read_to_string(log).ok()?;
        let (_, rest) = told.split_once("metrics at http://127.0.0.1:")?;
        let (port, _) = rest.split_once("/metrics")?;
        port.parse().ok()
    })
}
