//! A process of the measurement that counts its calls and is asked for them each second, as in a fleet that is watched.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anofpdm_common::queue::QueueError;
use anofpdm_common::telemetry::endpoint::{Endpoint, Pages};
use anofpdm_common::telemetry::queue_calls;
use anofpdm_common::telemetry::registry::{MetricsError, MetricsRegistry};

/// Fifteen times as often as `deploy/monitoring/prometheus.yml`.
const EVERY: Duration = Duration::from_secs(1);

/// A page of one registry.
#[derive(Debug)]
pub struct Page(pub MetricsRegistry);

impl Pages for Page {
    fn metrics(&self) -> Result<String, MetricsError> {
        self.0.exposition()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn live(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Counts from now on; whoever asks does so from a thread of this process.
pub fn watch() -> Result<Endpoint, QueueError> {
    let failed = |error: &dyn std::fmt::Display| QueueError::Gone(format!("metrics: {error}"));
    let registry = MetricsRegistry::new(&[]).map_err(|error| failed(&error))?;
    queue_calls::count(&registry).map_err(|error| failed(&error))?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint =
        Endpoint::start(anywhere, Arc::new(Page(registry))).map_err(|error| failed(&error))?;
    let address = endpoint.address();
    std::thread::spawn(move || {
        loop {
            match ask(address) {
                Ok(()) => std::thread::sleep(EVERY),
                // The measurement is over.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                Err(error) => panic!("metrics: {error}"),
            }
        }
    });
    Ok(endpoint)
}

fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    match page.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(std::io::Error::other(page)),
    }
}
