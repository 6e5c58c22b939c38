//! The coordinator's side: a [`InMemoryQueue`] behind the socket, driven from the caller's thread.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::protocol::{LONGEST_WAIT, Request, Response};
use super::server::{self, Call};
use crate::plan::Job;
use crate::queue::dispatch::{Dispatch, QueueHandler, Submission, WorkerStatus};
use crate::queue::error::QueueError;
use crate::queue::in_memory::{InMemoryQueue, MonotonicClock};
use crate::queue::lease::{Counts, DeadLetter, LeaseConfig};
use crate::queue::worker::Take;

/// Requests waiting for the dispatcher's thread; more make their connections wait.
const REQUEST_BACKLOG: usize = 256;

#[derive(Debug)]
struct WaitingTake {
    worker: Arc<str>,
    until: Instant,
    reply: oneshot::Sender<Response>,
}

/// The queue of a run on one machine. Dropping it closes every connection.
#[derive(Debug)]
pub struct LocalDispatcher {
    queue: InMemoryQueue,
    calls: mpsc::Receiver<Call>,
    /// At most one for each connection.
    waiting: VecDeque<WaitingTake>,
    path: PathBuf,
    runtime: Runtime,
}

impl LocalDispatcher {
    /// Listens on a socket in `folder`, which becomes private to this user and must have a short path
    /// (a socket's is limited to 107 bytes). Only one dispatcher may use a folder; the run's lock sees
    /// to that.
    pub fn listen(folder: &Path, config: LeaseConfig) -> Result<Self, QueueError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("queue-io")
            .enable_all()
            .build()
            .map_err(|source| QueueError::Unreachable {
                address: folder.display().to_string(),
                source,
            })?;
        let (listener, path) = {
            let _context = runtime.enter();
            server::bind(folder)?
        };
        let (sender, calls) = mpsc::channel(REQUEST_BACKLOG);
        runtime.spawn(server::accept(listener, path.clone(), sender));
        Ok(Self {
            queue: InMemoryQueue::new(config, Box::new(MonotonicClock::start())),
            calls,
            waiting: VecDeque::new(),
            path,
            runtime,
        })
    }

    /// What workers connect to (`--queue`).
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn answer(&mut self, call: Call, handler: &mut dyn QueueHandler) {
        match call {
            Call::Register(worker, reply) => {
                let response = match self.queue.register(&worker, handler) {
                    Ok(()) => Response::Registered,
                    Err(reason) => Response::Refused(reason),
                };
                send(reply, response);
            }
            Call::Gone(worker) => {
                self.waiting.retain(|waiting| waiting.worker != worker);
                self.queue.gone(&worker, handler);
            }
            Call::Request(worker, request, reply) => {
                let response = match request {
                    Request::Take(wait) => {
                        let until = Instant::now() + wait.min(LONGEST_WAIT);
                        return self.waiting.push_back(WaitingTake {
                            worker,
                            until,
                            reply,
                        });
                    }
                    Request::Renew(lease, progress) => {
                        Response::Renewal(self.queue.renew(&worker, lease, progress))
                    }
                    Request::Complete(lease, completion) => {
                        self.queue.complete(&worker, lease, &completion, handler);
                        Response::Done
                    }
                    Request::Fail(lease, class, message) => {
                        self.queue.fail(&worker, lease, class, &message, handler);
                        Response::Done
                    }
                    Request::Release(lease) => {
                        self.queue.release(&worker, lease, handler);
                        Response::Done
                    }
                    Request::Leave => {
                        self.queue.leave(&worker, handler);
                        Response::Done
                    }
                    Request::RendezvousSet(generation, key, value) => {
                        if self.queue.rendezvous_set(generation, &key, value) {
                            Response::Done
                        } else {
                            Response::Refused("the gang has put up too many notes".to_owned())
                        }
                    }
                    Request::RendezvousGet(generation, key) => {
                        Response::RendezvousValue(self.queue.rendezvous_get(generation, &key))
                    }
                    // A second first request: dropping the reply ends the connection.
                    Request::Register(_) | Request::Attach(_) => return,
                };
                send(reply, response);
            }
        }
    }

    /// Answers what has arrived, but no more than one calls, so that the caller gets its turn.
    fn answer_arrived(&mut self, handler: &mut dyn QueueHandler) -> bool {
        let mut answered = false;
        for _ in 0..REQUEST_BACKLOG {
            let Ok(call) = self.calls.try_recv() else {
                break;
            };
            self.answer(call, handler);
            answered = true;
        }
        answered
    }

    /// What follows from answers and from time. Comes after the answers: a renewal that arrived while
    /// this thread was busy elsewhere counts.
    fn advance(&mut self, handler: &mut dyn QueueHandler) {
        self.queue.advance(handler);
        self.answer_waiting(handler);
    }

    /// Gives waiting workers, oldest first, what there is, and sends those home whose time is up.
    fn answer_waiting(&mut self, handler: &mut dyn QueueHandler) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.reply.is_closed() {
                continue;
            }
            match self.queue.take(&waiting.worker, handler) {
                Take::Empty if Instant::now() < waiting.until => self.waiting.push_back(waiting),
                take => {
                    let lease = match &take {
                        Take::Leased(lease) => Some(lease.id),
                        _ => None,
                    };
                    // The connection may have ended this moment; the shard must not wait for its deadline.
                    if waiting.reply.send(Response::Take(take)).is_err()
                        && let Some(lease) = lease
                    {
                        self.queue.release(&waiting.worker, lease, handler);
                    }
                }
            }
        }
    }

    /// How long nothing will happen unless somebody calls.
    fn quiet_time(&self, wait: Duration) -> Duration {
        let now = Instant::now();
        let takes = self.waiting.iter().map(|take| take.until - now);
        takes
            .chain(self.queue.next_change())
            .fold(wait, Duration::min)
    }
}

/// A reply nobody waits for any more is dropped: the connection has ended, and its end is reported apart.
fn send(reply: oneshot::Sender<Response>, response: Response) {
    if reply.send(response).is_err() {
        tracing::debug!("an answer came after its connection had ended");
    }
}

impl Dispatch for LocalDispatcher {
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError> {
        self.queue.submit(shards)
    }

    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError> {
        self.queue.inherited()
    }

    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError> {
        self.queue.retire(worker, reason)
    }

    fn close(&mut self) -> Result<(), QueueError> {
        self.queue.close()
    }

    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.queue.cancel(shard)
    }

    fn expire(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.queue.expire(shard)
    }

    fn revive(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.queue.revive(shard)
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError> {
        self.queue.set_paused(paused)
    }

    fn finish(&mut self) -> Result<(), QueueError> {
        self.queue.finish()
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        self.queue.drain()
    }

    fn serve(&mut self, handler: &mut dyn QueueHandler, wait: Duration) -> Result<(), QueueError> {
        let answered = self.answer_arrived(handler);
        self.advance(handler);
        if answered {
            return Ok(());
        }
        let quiet = self.quiet_time(wait);
        let calls = &mut self.calls;
        let first = self
            .runtime
            .block_on(async { tokio::time::timeout(quiet, calls.recv()).await });
        if let Ok(Some(call)) = first {
            self.answer(call, handler);
            self.answer_arrived(handler);
        }
        self.advance(handler);
        Ok(())
    }

    fn counts(&self) -> Result<Counts, QueueError> {
        self.queue.counts()
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        self.queue.dead_letters()
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError> {
        self.queue.workers()
    }

    fn now(&self) -> Result<Option<Duration>, QueueError> {
        self.queue.now()
    }
}

impl Drop for LocalDispatcher {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the queue's socket");
        }
    }
}
