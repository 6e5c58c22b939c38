//! `/metrics` and the pages beside it over HTTP, from a thread of its own.
//!
//! Plain HTTP for whoever reaches the port: the numbers tell nothing of any patient, and nothing can be changed through it.
//! Connections are few, short and small, so that nobody can hold this process up.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::registry::MetricsError;

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: u32 = 16;
/// From the first byte to the last of a connection, which carries one request.
const LONGEST: Duration = Duration::from_secs(10);
/// What connections under way have to end when the program does.
const FAREWELL: Duration = Duration::from_secs(5);
/// Longest request, bytes.
const REQUEST_LIMIT: usize = 16 << 10;
/// Pause when the system has no socket left.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "metrics cannot be served at {address}: {source}; every worker of a machine needs a port of its own (--metrics)"
    )]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("metrics cannot be served: {0}")]
    Thread(io::Error),
}

/// What a program has to say. Each is called from the endpoint's thread, at any time.
pub trait Pages: Send + Sync + 'static {
    /// `/metrics`.
    ///
    /// # Errors
    /// [`MetricsError::Exposition`].
    fn metrics(&self) -> Result<String, MetricsError>;

    /// `/readyz`: whether it does what it is there for.
    ///
    /// # Errors
    /// Why not yet.
    fn ready(&self) -> Result<(), String>;

    /// `/livez`: whether it moves on. What says no should be ended and started again.
    ///
    /// # Errors
    /// What hangs.
    fn live(&self) -> Result<(), String>;

    /// `/workers`: where workers serve their metrics, in the form of Prometheus' HTTP service discovery. None where
    /// that is not known.
    fn workers(&self) -> Option<String> {
        None
    }
}

/// The thread that serves; ends when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Serves `pages` at `address`; port 0 is any that is free.
    pub fn start(address: SocketAddr, pages: Arc<dyn Pages>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind { address, source };
        // Reused at once: a worker that starts afresh binds the port it has just left.
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EndpointError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
                    tokio::select! {
                        () = accept(listener, pages, &places) => {}
                        _ = stopped => {}
                    }
                    // Who is being answered gets the whole page.
                    let all = places.acquire_many(MAX_CONNECTIONS);
                    if tokio::time::timeout(FAREWELL, all).await.is_err() {
                        tracing::debug!("a connection for metrics was cut");
                    }
                });
            })
            .map_err(EndpointError::Thread)?;
        tracing::info!("metrics at http://{address}/metrics");
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Dropping the sender is the signal.
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that serves metrics panicked. This is a bug.");
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, pages: Arc<dyn Pages>, places: &Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, pages.as_ref());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .max_buf_size(REQUEST_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(LONGEST, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics failed"),
                Err(_) => tracing::debug!("a connection for metrics took too long"),
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, pages: &dyn Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match pages.metrics() {
            Ok(text) => typed(text, "text/plain; version=0.0.4; charset=utf-8"),
            Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        // That it answers is what it says.
        "/healthz" => said(StatusCode::OK, "ok\n"),
        "/readyz" => yes_or_no(pages.ready()),
        "/livez" => yes_or_no(pages.live()),
        "/workers" => match pages.workers() {
            Some(text) => typed(text, "application/json"),
            None => said(StatusCode::NOT_FOUND, "the coordinator knows its workers\n"),
        },
        _ => said(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /readyz, /livez and /workers\n",
        ),
    }
}

fn yes_or_no(answer: Result<(), String>) -> Response<Full<Bytes>> {
    match answer {
        Ok(()) => said(StatusCode::OK, "ok\n"),
        Err(why) => said(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = typed(text.to_owned(), "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

fn typed(text: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    struct Hung;

    impl Pages for Hung {
        fn metrics(&self) -> Result<String, MetricsError> {
            Ok("a 1\n".to_owned())
        }

        fn ready(&self) -> Result<(), String> {
            Ok(())
        }

        fn live(&self) -> Result<(), String> {
            Err("no step for an hour".to_owned())
        }
    }

    fn started() -> Endpoint {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Endpoint::start(anywhere, Arc::new(Hung)).unwrap()
    }

    fn said_to(endpoint: &Endpoint, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(endpoint.address()).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        stream.write_all(request).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_paths_and_the_methods() {
        let endpoint = started();
        let get = |path: &str| {
            said_to(
                &endpoint,
                format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes(),
            )
        };
        let metrics = get("/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("version=0.0.4"), "{metrics}");
        assert!(get("/healthz").ends_with("\r\n\r\nok\n"));
        assert!(get("/readyz").starts_with("HTTP/1.1 200"));
        let hung = get("/livez");
        assert!(hung.starts_with("HTTP/1.1 503"), "{hung}");
        assert!(hung.ends_with("no step for an hour\n"), "{hung}");
        assert!(get("/workers").starts_with("HTTP/1.1 404"));
        assert!(get("/").starts_with("HTTP/1.1 404"));
        let posted = said_to(
            &endpoint,
            b"POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    }

    #[test]
    fn what_is_no_request_or_too_long_is_turned_away() {
        let endpoint = started();
        assert!(said_to(&endpoint, b"\x00\x01\x02\r\n\r\n").starts_with("HTTP/1.1 400"));
        let mut long = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
        long.resize(REQUEST_LIMIT + 1, b'x');
        assert!(said_to(&endpoint, &long).starts_with("HTTP/1.1 431"));
    }

    #[test]
    fn a_taken_port_is_said_and_a_left_one_is_free() {
        let endpoint = started();
        let address = endpoint.address();
        let error = Endpoint::start(address, Arc::new(Hung)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("--metrics"),
            "{text}"
        );
        // As a worker that starts afresh does, with a connection hardly over.
        said_to(&endpoint, b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n");
        drop(endpoint);
        assert_eq!(
            Endpoint::start(address, Arc::new(Hung)).unwrap().address(),
            address
        );
    }
}
