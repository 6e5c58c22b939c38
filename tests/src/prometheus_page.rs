//! What the programs serve for Prometheus, read as a person would read it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(120);

/// The body of a page, when it is served.
pub fn get(port: u16, path: &str) -> Option<String> {
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
pub fn samples(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let sample = line.rsplit_once(' ').and_then(|(name, value)| {
                let value = value.parse().ok()?;
                Some((name.to_owned(), value))
            });
            sample.unwrap_or_else(|| panic!("'{line}' is no sample"))
        })
        .collect()
}

/// The sum of a metric over the series that have all these labels.
pub fn sum(found: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let of = |series: &str| {
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    };
    let series = found.iter().filter(|(series, _)| of(series));
    series.map(|(_, value)| value).sum()
}

/// Looks again and again until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
pub fn port_in(log: &Path) -> u16 {
    wait_for("the port", || {
        let told = std::fs::read_to_string(log).ok()?;
        let (_, rest) = told.split_once("metrics at http://127.0.0.1:")?;
        let (port, _) = rest.split_once("/metrics")?;
        port.parse().ok()
    })
}
