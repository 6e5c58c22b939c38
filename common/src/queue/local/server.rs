//! The coordinator's end of the socket: carries requests to the dispatcher's thread and answers back.
//!
//! A task per connection, a bounded number of them, and a bounded channel to the dispatcher: a busy
//! dispatcher makes workers wait and nothing grows. Nothing is decided here.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::protocol::{Request, Response};
use crate::backoff::Backoff;
use crate::plan::WorkerInfo;
use crate::queue::error::QueueError;
use crate::wire::{self, HEADER_LEN, Message};

/// Connections at once, two for each worker.
const MAX_CONNECTIONS: usize = 512;

/// The system's limit on a socket's path, with its closing zero.
const PATH_LIMIT: usize = 108;

/// Longest wait for a connection's first request: one that says nothing must not keep its slot.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Between attempts to accept a connection.
const ACCEPT_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(10),
    cap: Duration::from_secs(5),
};

/// What a connection hands to the dispatcher.
#[derive(Debug)]
pub(super) enum Call {
    Register(WorkerInfo, oneshot::Sender<Response>),
    /// A request of a known worker.
    Request(Arc<str>, Request, oneshot::Sender<Response>),
    /// The main connection of a worker has ended.
    Gone(Arc<str>),
}

/// Makes the socket `folder/queue.sock`, for this user alone. Needs a runtime's context.
pub(super) fn bind(folder: &Path) -> Result<(UnixListener, PathBuf), QueueError> {
    let path = folder.join("queue.sock");
    let failed = |source| QueueError::Unreachable {
        address: path.display().to_string(),
        source,
    };
    if path.as_os_str().len() >= PATH_LIMIT {
        let message = format!("a socket's path must be shorter than {PATH_LIMIT} bytes");
        return Err(failed(io::Error::new(
            io::ErrorKind::InvalidFilename,
            message,
        )));
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(failed)?,
    }
    // The folder's mode guards the moment between bind and chmod.
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    // Left by a coordinator that was killed; the lock on the run folder says that none is alive.
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(failed)?,
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((listener, path))
}

/// Accepts workers until the dispatcher is dropped.
pub(super) async fn accept(listener: UnixListener, path: PathBuf, calls: mpsc::Sender<Call>) {
    // The socket is ours, so its owner is this process's user.
    let Ok(user) = fs::metadata(&path).map(|metadata| metadata.uid()) else {
        tracing::error!(path = %path.display(), "the queue's socket has vanished");
        return;
    };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut failures = 0;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: waiting helps, spinning does not.
                tracing::warn!(%error, "cannot accept a worker");
                failures += 1;
                tokio::time::sleep(ACCEPT_BACKOFF.ceiling(failures)).await;
                continue;
            }
        };
        failures = 0;
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == user => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    serve_connection(stream, &calls).await;
                    drop(slot);
                });
            }
            Ok(peer) => tracing::warn!(user = peer.uid(), "refused a worker of another user"),
            Err(error) => tracing::warn!(%error, "cannot tell who a worker is"),
        }
    }
}

/// One connection from its first request to its end.
async fn serve_connection(mut stream: UnixStream, calls: &mpsc::Sender<Call>) {
    let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, read_request(&mut stream)).await;
    let outcome = match first {
        Err(_) | Ok(Ok(None)) => return,
        Ok(Err(error)) => Err(error),
        Ok(Ok(Some(Request::Register(worker)))) => serve_worker(stream, worker, calls).await,
        Ok(Ok(Some(Request::Attach(worker)))) => serve_takes(stream, worker.into(), calls).await,
        Ok(Ok(Some(other))) => Err(QueueError::Protocol(format!(
            "a connection began with {other:?}"
        ))),
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a worker's connection ended");
    }
}

/// The main connection: its end is the worker's.
async fn serve_worker(
    mut stream: UnixStream,
    worker: WorkerInfo,
    calls: &mpsc::Sender<Call>,
) -> Result<(), QueueError> {
    let name: Arc<str> = worker.worker.as_str().into();
    let response = dispatch(calls, |reply| Call::Register(worker, reply)).await?;
    if !matches!(response, Response::Registered) {
        return write(&mut stream, &response).await;
    }
    let outcome = match write(&mut stream, &response).await {
        Ok(()) => relay(&mut stream, &name, calls).await,
        failed => failed,
    };
    calls.send(Call::Gone(name)).await.map_err(|_| stopped())?;
    outcome
}

async fn serve_takes(
    mut stream: UnixStream,
    worker: Arc<str>,
    calls: &mpsc::Sender<Call>,
) -> Result<(), QueueError> {
    write(&mut stream, &Response::Done).await?;
    relay(&mut stream, &worker, calls).await
}

async fn relay(
    stream: &mut UnixStream,
    worker: &Arc<str>,
    calls: &mpsc::Sender<Call>,
) -> Result<(), QueueError> {
    while let Some(request) = read_request(stream).await? {
        let call = |reply| Call::Request(Arc::clone(worker), request, reply);
        let response = dispatch(calls, call).await?;
        write(stream, &response).await?;
    }
    Ok(())
}

async fn dispatch(
    calls: &mpsc::Sender<Call>,
    call: impl FnOnce(oneshot::Sender<Response>) -> Call,
) -> Result<Response, QueueError> {
    let (reply, answer) = oneshot::channel();
    calls.send(call(reply)).await.map_err(|_| stopped())?;
    // The dispatcher drops the reply of a request it will not answer.
    answer.await.map_err(|_| stopped())
}

fn stopped() -> QueueError {
    QueueError::Gone("the dispatcher has stopped".to_owned())
}

/// The next request; None when the worker has closed the connection.
async fn read_request(stream: &mut UnixStream) -> Result<Option<Request>, QueueError> {
    let mut bytes = vec![0; HEADER_LEN];
    match stream.read_exact(&mut bytes).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(lost)?,
    };
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = wire::envelope_len(Request::KIND, header)?;
    bytes.resize(length, 0);
    let (_, rest) = bytes.split_at_mut(HEADER_LEN);
    stream.read_exact(rest).await.map_err(lost)?;
    Ok(Some(wire::decode(&bytes)?))
}

async fn write(stream: &mut UnixStream, response: &Response) -> Result<(), QueueError> {
    let bytes = wire::encode(response)?;
    stream.write_all(&bytes).await.map_err(lost)
}

fn lost(error: io::Error) -> QueueError {
    QueueError::Gone(error.to_string())
}
