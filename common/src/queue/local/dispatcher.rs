//! The coordinator's side: a [`Broker`] behind the socket, driven from the caller's thread.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::protocol::{LONGEST_WAIT, Request, Response};
use super::server::{self, Call};
use crate::queue::broker::{Broker, MonotonicClock};
use crate::queue::{
    Counts, DeadLetter, Dispatch, Judge, LeaseConfig, QueueError, Submission, Take, WorkerStatus,
};
use crate::work::Job;

/// Requests waiting for the dispatcher's thread; more make their connections wait.
const INBOX: usize = 256;

/// A take waiting for work.
#[derive(Debug)]
struct Parked {
    worker: Arc<str>,
    until: Instant,
    reply: oneshot::Sender<Response>,
}

/// The queue of a run on one machine. Dropping it closes every connection.
#[derive(Debug)]
pub struct LocalDispatcher {
    broker: Broker,
    inbox: mpsc::Receiver<Call>,
    /// At most one for each connection.
    parked: VecDeque<Parked>,
    path: PathBuf,
    runtime: Runtime,
}

impl LocalDispatcher {
    /// Listens on a socket in `folder`, which becomes private to this user and must have a short path
    /// (a socket's is limited to 107 bytes). Only one dispatcher may use a folder; the run's lock sees
    /// to that.
    ///
    /// # Errors
    /// [`QueueError::Unreachable`] naming the socket.
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
        let (sender, inbox) = mpsc::channel(INBOX);
        runtime.spawn(server::accept(listener, path.clone(), sender));
        Ok(Self {
            broker: Broker::new(config, Box::new(MonotonicClock::start())),
            inbox,
            parked: VecDeque::new(),
            path,
            runtime,
        })
    }

    /// What workers connect to (`--queue`).
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn answer(&mut self, call: Call, judge: &mut dyn Judge) {
        match call {
            Call::Register(worker, reply) => {
                let response = match self.broker.register(&worker, judge) {
                    Ok(()) => Response::Registered,
                    Err(reason) => Response::Refused(reason),
                };
                send(reply, response);
            }
            Call::Gone(worker) => {
                self.parked.retain(|parked| parked.worker != worker);
                self.broker.gone(&worker, judge);
            }
            Call::Request(worker, request, reply) => {
                let response = match request {
                    Request::Take(wait) => {
                        let until = Instant::now() + wait.min(LONGEST_WAIT);
                        return self.parked.push_back(Parked {
                            worker,
                            until,
                            reply,
                        });
                    }
                    Request::Renew(lease, progress) => {
                        Response::Renewal(self.broker.renew(&worker, lease, progress))
                    }
                    Request::Complete(lease, completion) => {
                        self.broker.complete(&worker, lease, &completion, judge);
                        Response::Done
                    }
                    Request::Fail(lease, class, message) => {
                        self.broker.fail(&worker, lease, class, &message, judge);
                        Response::Done
                    }
                    Request::HandBack(lease) => {
                        self.broker.hand_back(&worker, lease, judge);
                        Response::Done
                    }
                    Request::Leave => {
                        self.broker.leave(&worker, judge);
                        Response::Done
                    }
                    Request::Post(generation, key, note) => {
                        if self.broker.post(generation, &key, note) {
                            Response::Done
                        } else {
                            Response::Refused("the gang has put up too many notes".to_owned())
                        }
                    }
                    Request::Read(generation, key) => {
                        Response::Note(self.broker.read(generation, &key))
                    }
                    // A second greeting: dropping the reply ends the connection.
                    Request::Register(_) | Request::Attach(_) => return,
                };
                send(reply, response);
            }
        }
    }

    /// Answers what has arrived, but no more than one inbox, so that the caller gets its turn.
    fn answer_arrived(&mut self, judge: &mut dyn Judge) -> bool {
        let mut answered = false;
        for _ in 0..INBOX {
            let Ok(call) = self.inbox.try_recv() else {
                break;
            };
            self.answer(call, judge);
            answered = true;
        }
        answered
    }

    /// What follows from answers and from time. Comes after the answers: a renewal that arrived while
    /// this thread was busy elsewhere counts.
    fn settle(&mut self, judge: &mut dyn Judge) {
        self.broker.expire_due(judge);
        self.answer_parked(judge);
    }

    /// Gives waiting workers, oldest first, what there is, and sends those home whose time is up.
    fn answer_parked(&mut self, judge: &mut dyn Judge) {
        for parked in std::mem::take(&mut self.parked) {
            if parked.reply.is_closed() {
                continue;
            }
            match self.broker.take(&parked.worker, judge) {
                Take::Empty if Instant::now() < parked.until => self.parked.push_back(parked),
                take => {
                    let lease = match &take {
                        Take::Leased(lease) => Some(lease.id),
                        _ => None,
                    };
                    // The connection may have ended this moment; the shard must not wait for its deadline.
                    if parked.reply.send(Response::Take(take)).is_err()
                        && let Some(lease) = lease
                    {
                        self.broker.hand_back(&parked.worker, lease, judge);
                    }
                }
            }
        }
    }

    /// How long nothing will happen unless somebody calls.
    fn quiet_time(&self, wait: Duration) -> Duration {
        let now = Instant::now();
        let waiting = self.parked.iter().map(|parked| parked.until - now);
        waiting
            .chain(self.broker.next_change())
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
        self.broker.submit(shards)
    }

    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError> {
        self.broker.inherited()
    }

    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError> {
        self.broker.retire(worker, reason)
    }

    fn close(&mut self) -> Result<(), QueueError> {
        self.broker.close()
    }

    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.broker.cancel(shard)
    }

    fn expire(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.broker.expire(shard)
    }

    fn revive(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.broker.revive(shard)
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError> {
        self.broker.set_paused(paused)
    }

    fn finish(&mut self) -> Result<(), QueueError> {
        self.broker.finish()
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        self.broker.drain()
    }

    fn serve(&mut self, judge: &mut dyn Judge, wait: Duration) -> Result<(), QueueError> {
        let answered = self.answer_arrived(judge);
        self.settle(judge);
        if answered {
            return Ok(());
        }
        let quiet = self.quiet_time(wait);
        let inbox = &mut self.inbox;
        let first = self
            .runtime
            .block_on(async { tokio::time::timeout(quiet, inbox.recv()).await });
        if let Ok(Some(call)) = first {
            self.answer(call, judge);
            self.answer_arrived(judge);
        }
        self.settle(judge);
        Ok(())
    }

    fn counts(&self) -> Result<Counts, QueueError> {
        self.broker.counts()
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        self.broker.dead_letters()
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError> {
        self.broker.workers()
    }

    fn now(&self) -> Result<Option<Duration>, QueueError> {
        self.broker.now()
    }
}

impl Drop for LocalDispatcher {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the queue's socket");
        }
    }
}
