//! The drivers under test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anofpdm_common::plan::{Completion, Job, WorkerInfo};
use anofpdm_common::queue::in_memory::{Clock, InMemoryQueue};
use anofpdm_common::queue::local::{LocalDispatcher, LocalQueue};
use anofpdm_common::queue::redis::{RedisDispatcher, RedisQueue};
use anofpdm_common::queue::{
    Counts, DeadLetter, Dispatch, ErrorClass, Lease, LeaseConfig, LeaseId, Progress, QueueError,
    QueueHandler, Renewal, Submission, Take, WorkQueue, WorkerStatus,
};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_test_support::redis_users::{COORDINATOR, Users, WORKER};

use super::{Driver, SharedHandler};
use crate::redis_access::endpoint;

/// The broker alone, on a clock that the test moves.
pub(crate) struct InProcess {
    broker: SharedQueue,
    handler: SharedHandler,
    clock: TestClock,
}

#[derive(Debug, Clone, Default)]
struct TestClock(Arc<Mutex<Duration>>);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct SharedQueue(Arc<Mutex<InMemoryQueue>>);

impl Driver for InProcess {
    const TTL: Duration = Duration::from_secs(60);
    const LEASE_OF_THE_LOST: Duration = Duration::from_secs(3_600);
    type Queue = SharedQueue;

    fn start(config: LeaseConfig, handler: &SharedHandler) -> (Self, SharedQueue) {
        let clock = TestClock::default();
        let broker = InMemoryQueue::new(config, Box::new(clock.clone()));
        let broker = SharedQueue(Arc::new(Mutex::new(broker)));
        let driver = Self {
            broker: broker.clone(),
            handler: Arc::clone(handler),
            clock,
        };
        (driver, broker)
    }

    fn connect(&self, name: &str) -> Box<dyn WorkQueue> {
        Box::new(InProcessWorker {
            name: name.to_owned(),
            broker: self.broker.clone(),
            handler: Arc::clone(&self.handler),
        })
    }

    fn pass(&self, time: Duration) {
        *self.clock.0.lock().unwrap() += time;
    }

    fn lose(&self, name: &str, _worker: Box<dyn WorkQueue>) {
        let mut handler = self.handler.lock().unwrap();
        self.broker.0.lock().unwrap().gone(name, &mut *handler);
    }
}

struct InProcessWorker {
    name: String,
    broker: SharedQueue,
    handler: SharedHandler,
}

impl InProcessWorker {
    fn with<R>(
        &self,
        call: impl FnOnce(&mut InMemoryQueue, &str, &mut dyn QueueHandler) -> R,
    ) -> R {
        // The same order as the serving thread: handler, then broker.
        let mut handler = self.handler.lock().unwrap();
        let mut broker = self.broker.0.lock().unwrap();
        call(&mut broker, &self.name, &mut *handler)
    }
}

impl WorkQueue for InProcessWorker {
    fn register(&self, worker: &WorkerInfo) -> Result<(), QueueError> {
        self.with(|broker, _, handler| broker.register(worker, handler))
            .map_err(QueueError::Refused)
    }

    fn take(&self, _wait: Duration) -> Result<Take, QueueError> {
        Ok(self.with(|broker, name, handler| broker.take(name, handler)))
    }

    fn renew(&self, lease: &LeaseId, progress: Progress) -> Result<Renewal, QueueError> {
        Ok(self.with(|broker, name, _| broker.renew(name, *lease, progress)))
    }

    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError> {
        self.with(|broker, name, handler| broker.complete(name, lease.id, completion, handler));
        Ok(())
    }

    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.with(|broker, name, handler| broker.fail(name, *lease, class, message, handler));
        Ok(())
    }

    fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.with(|broker, name, handler| broker.release(name, *lease, handler));
        Ok(())
    }

    fn rendezvous_set(&self, lease: &Lease, key: &str, note: &[u8]) -> Result<(), QueueError> {
        let generation = lease.generation()?;
        match self.with(|broker, _, _| broker.rendezvous_set(generation, key, note.to_vec())) {
            true => Ok(()),
            false => Err(QueueError::Protocol("full".to_owned())),
        }
    }

    fn rendezvous_get(&self, lease: &Lease, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let generation = lease.generation()?;
        Ok(self.with(|broker, _, _| broker.rendezvous_get(generation, key)))
    }

    fn leave(&self) -> Result<(), QueueError> {
        self.with(|broker, name, handler| broker.leave(name, handler));
        Ok(())
    }
}

impl Dispatch for SharedQueue {
    fn submit(&mut self, shards: Vec<Submission>) -> Result<u64, QueueError> {
        self.0.lock().unwrap().submit(shards)
    }

    fn inherited(&mut self) -> Result<Vec<(u64, Job)>, QueueError> {
        self.0.lock().unwrap().inherited()
    }

    fn retire(&mut self, worker: &str, reason: &str) -> Result<(), QueueError> {
        self.0.lock().unwrap().retire(worker, reason)
    }

    fn close(&mut self) -> Result<(), QueueError> {
        self.0.lock().unwrap().close()
    }

    fn cancel(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.0.lock().unwrap().cancel(shard)
    }

    fn expire(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.0.lock().unwrap().expire(shard)
    }

    fn revive(&mut self, shard: u64) -> Result<bool, QueueError> {
        self.0.lock().unwrap().revive(shard)
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), QueueError> {
        self.0.lock().unwrap().set_paused(paused)
    }

    fn finish(&mut self) -> Result<(), QueueError> {
        self.0.lock().unwrap().finish()
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        self.0.lock().unwrap().drain()
    }

    fn serve(&mut self, handler: &mut dyn QueueHandler, wait: Duration) -> Result<(), QueueError> {
        self.0.lock().unwrap().serve(handler, wait)
    }

    fn counts(&self) -> Result<Counts, QueueError> {
        self.0.lock().unwrap().counts()
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        self.0.lock().unwrap().dead_letters()
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, QueueError> {
        self.0.lock().unwrap().workers()
    }

    fn now(&self) -> Result<Option<Duration>, QueueError> {
        self.0.lock().unwrap().now()
    }
}

/// The local driver: real sockets, real time, short leases.
pub(crate) struct UnixSocket {
    address: String,
    _folder: tempfile::TempDir,
}

impl Driver for UnixSocket {
    const TTL: Duration = Duration::from_secs(3);
    const LEASE_OF_THE_LOST: Duration = Duration::from_secs(3_600);
    type Queue = LocalDispatcher;

    fn start(config: LeaseConfig, _judge: &SharedHandler) -> (Self, LocalDispatcher) {
        let folder = tempfile::tempdir().unwrap();
        let queue = LocalDispatcher::listen(folder.path(), config).unwrap();
        let address = queue.address();
        let driver = Self {
            address,
            _folder: folder,
        };
        (driver, queue)
    }

    fn connect(&self, _name: &str) -> Box<dyn WorkQueue> {
        let path = self.address.strip_prefix("unix:").unwrap();
        Box::new(LocalQueue::connect(path.as_ref()).unwrap())
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose(&self, _name: &str, worker: Box<dyn WorkQueue>) {
        drop(worker);
    }
}

/// The Redis driver: a real server with the users that are handed on, real time, short leases.
pub(crate) struct Redis {
    server: RedisServer,
    users: Users,
}

/// The run's name in the server.
const RUN: &str = "conformance-00c0ffee";

impl Driver for Redis {
    const TTL: Duration = Duration::from_secs(3);
    // Silence is all there is to see: twice the lease and a second.
    const LEASE_OF_THE_LOST: Duration = Self::TTL;
    type Queue = RedisDispatcher;

    fn start(config: LeaseConfig, _judge: &SharedHandler) -> (Self, RedisDispatcher) {
        let users = Users::make();
        let server = RedisServer::start(RedisOptions {
            users: Some(users.acl.clone()),
            ..RedisOptions::default()
        });
        let endpoint = endpoint(&users, &server, COORDINATOR);
        let queue = RedisDispatcher::open_at(endpoint, RUN, config).unwrap();
        (Self { server, users }, queue)
    }

    fn connect(&self, _name: &str) -> Box<dyn WorkQueue> {
        let endpoint = endpoint(&self.users, &self.server, WORKER);
        Box::new(RedisQueue::at(endpoint, Some(RUN)))
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose(&self, _name: &str, worker: Box<dyn WorkQueue>) {
        drop(worker);
    }
}
