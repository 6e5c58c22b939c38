//! The worker's end of the socket: blocking, two connections, no runtime.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{LONGEST_WAIT, Request, Response};
use crate::plan::{Completion, WorkerInfo};
use crate::queue::error::QueueError;
use crate::queue::lease::shorten;
use crate::queue::lease::{ErrorClass, LeaseId, Progress, Renewal};
use crate::queue::worker::{Lease, Take, WorkQueue};
use crate::wire::{self, HEADER_LEN, Message};

/// Longest wait for an answer, beyond what a take asks for: the coordinator may be verifying records.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A worker's connection to the coordinator on the same machine.
///
/// After any error the connection it happened on is closed, since question and answer would no longer
/// match; there is no reconnecting, because a coordinator that is gone does not come back at this address.
#[derive(Debug)]
pub struct LocalQueue {
    path: PathBuf,
    main: Mutex<Option<UnixStream>>,
    /// Open once registered.
    takes: Mutex<Option<UnixStream>>,
}

impl LocalQueue {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, QueueError> {
        Ok(Self {
            path: path.to_owned(),
            main: Mutex::new(Some(open(path)?)),
            takes: Mutex::new(None),
        })
    }

    fn ask(&self, request: &Request) -> Result<Response, QueueError> {
        call(&self.main, request, ANSWER_TIMEOUT)
    }

    fn tell(&self, request: &Request) -> Result<(), QueueError> {
        match self.ask(request)? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl WorkQueue for LocalQueue {
    fn register(&self, worker: &WorkerInfo) -> Result<(), QueueError> {
        match self.ask(&Request::Register(worker.clone()))? {
            Response::Registered => {}
            Response::Refused(reason) => return Err(QueueError::Refused(reason)),
            other => return Err(unexpected(&other)),
        }
        let takes = Mutex::new(Some(open(&self.path)?));
        match call(
            &takes,
            &Request::Attach(worker.worker.clone()),
            ANSWER_TIMEOUT,
        )? {
            Response::Done => {}
            Response::Refused(reason) => return Err(QueueError::Refused(reason)),
            other => return Err(unexpected(&other)),
        }
        *self.takes.lock().unwrap_or_else(PoisonError::into_inner) =
            takes.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    fn take(&self, wait: Duration) -> Result<Take, QueueError> {
        let wait = wait.min(LONGEST_WAIT);
        match call(&self.takes, &Request::Take(wait), wait + ANSWER_TIMEOUT)? {
            Response::Take(take) => Ok(take),
            other => Err(unexpected(&other)),
        }
    }

    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError> {
        match self.ask(&Request::Renew(*lease, progress.fitted()))? {
            Response::Renewal(renewal) => Ok(renewal),
            other => Err(unexpected(&other)),
        }
    }

    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError> {
        self.tell(&Request::Complete(lease.id, completion.clone()))
    }

    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.tell(&Request::Fail(*lease, class, shorten(message).to_owned()))
    }

    fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.tell(&Request::Release(*lease))
    }

    fn rendezvous_set(&self, lease: &Lease, key: &str, value: &[u8]) -> Result<(), QueueError> {
        let set = Request::RendezvousSet(lease.generation()?, key.to_owned(), value.to_vec());
        match self.ask(&set)? {
            Response::Done => Ok(()),
            Response::Refused(reason) => Err(QueueError::Protocol(reason)),
            other => Err(unexpected(&other)),
        }
    }

    fn rendezvous_get(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        match self.ask(&Request::RendezvousGet(lease.generation()?, key.to_owned()))? {
            Response::RendezvousValue(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    fn leave(&self) -> Result<(), QueueError> {
        self.tell(&Request::Leave)
    }
}

fn open(path: &Path) -> Result<UnixStream, QueueError> {
    UnixStream::connect(path).map_err(|source| QueueError::Unreachable {
        address: path.display().to_string(),
        source,
    })
}

fn unexpected(response: &Response) -> QueueError {
    QueueError::Protocol(format!("unexpected answer {response:?}"))
}

/// One question and its answer; closes the connection on any error.
fn call(
    connection: &Mutex<Option<UnixStream>>,
    request: &Request,
    timeout: Duration,
) -> Result<Response, QueueError> {
    let bytes = wire::encode(request)?;
    let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    // Taken out and put back only when all went well.
    let Some(mut stream) = connection.take() else {
        return Err(QueueError::Gone(
            "the connection is closed, or this worker is not registered".to_owned(),
        ));
    };
    let answer = exchange(&mut stream, &bytes, timeout)?;
    *connection = Some(stream);
    Ok(wire::decode(&answer)?)
}

fn exchange(
    stream: &mut UnixStream,
    request: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>, QueueError> {
    let gone = |error: io::Error| {
        QueueError::Gone(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within {} s", timeout.as_secs())
            }
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => error.to_string(),
        })
    };
    stream.set_read_timeout(Some(timeout)).map_err(gone)?;
    stream.set_write_timeout(Some(timeout)).map_err(gone)?;
    stream.write_all(request).map_err(gone)?;
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).map_err(gone)?;
    let length = wire::envelope_len(Response::KIND, &header)?;
    let mut answer = header.to_vec();
    answer.resize(length, 0);
    let (_, rest) = answer.split_at_mut(HEADER_LEN);
    stream.read_exact(rest).map_err(gone)?;
    Ok(answer)
}
