//! A queue that answers from a list, and a worker that it serves.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anofpdm_common::plan::{Completion, Job, Manifest, WorkerInfo};
use anofpdm_common::queue::{self, ErrorClass, Lease, LeaseId, QueueError, Take, WorkQueue};
use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::ArtifactStore;

use anofpdm_common::wire;
use anofpdm_tests::fake::FakeBackend;
use anofpdm_worker::worker_loop::drain::Drain;
use anofpdm_worker::worker_loop::liveness::Liveness;
use anofpdm_worker::worker_loop::worker_metrics::WorkerMetrics;
use anofpdm_worker::worker_loop::{WorkerConfig, WorkerError, serve};

use super::run::profile;

/// What the worker told the queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Complete(u64, Completion),
    Fail(u64, ErrorClass, String),
    HandBack(u64),
    Post(String),
    Leave,
}

/// Answers takes from a list, then [`Take::Finished`]; asks the worker to end where it is told to.
pub(super) struct Script {
    takes: Mutex<VecDeque<Take>>,
    told: Mutex<Vec<Told>>,
    drain: Arc<Drain>,
    /// Asks to end at the first of these calls.
    end_at: Option<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Call {
    Take,
    Renew,
    Fail,
}

impl Script {
    pub(super) fn called(&self, call: Call) {
        if self.end_at == Some(call) && !self.drain.asked() {
            self.drain.ask();
        }
    }

    pub(super) fn tell(&self, told: Told) -> Result<(), QueueError> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        Ok(())
    }
}

impl WorkQueue for Script {
    fn register(&self, _: &WorkerInfo) -> Result<(), QueueError> {
        Ok(())
    }
    fn take(&self, _: Duration) -> Result<Take, QueueError> {
        self.called(Call::Take);
        let next = self.takes.lock().unwrap().pop_front();
        Ok(next.unwrap_or(Take::Finished))
    }
    fn renew(&self, _: &LeaseId, _: queue::Progress) -> Result<queue::Renewal, QueueError> {
        self.called(Call::Renew);
        Ok(queue::Renewal::Held { cancel: false })
    }
    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError> {
        self.tell(Told::Complete(lease.id.shard, completion.clone()))
    }
    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.called(Call::Fail);
        self.tell(Told::Fail(lease.shard, class, message.to_owned()))
    }
    fn release(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.tell(Told::HandBack(lease.shard))
    }
    fn rendezvous_set(&self, _: &Lease, key: &str, _: &[u8]) -> Result<(), QueueError> {
        self.tell(Told::Post(key.to_owned()))
    }
    /// Every rank has been here before.
    fn rendezvous_get(&self, _: &Lease, _: &str) -> Result<Option<Vec<u8>>, QueueError> {
        Ok(Some(vec![1]))
    }
    fn leave(&self) -> Result<(), QueueError> {
        self.tell(Told::Leave)
    }
}

pub(super) fn leased(shard: u64, job: Job) -> Take {
    Take::Leased(Lease {
        id: LeaseId { shard, epoch: 1 },
        ttl: Duration::from_millis(30),
        job,
    })
}

/// Serves what `takes` holds, from the stores below `root`, with these faults.
pub(super) fn served(
    root: &Path,
    takes: Vec<Take>,
    faults: &str,
    end_at: Option<Call>,
    grace: Duration,
) -> (Vec<Told>, Result<(), WorkerError>) {
    let drain = Arc::new(Drain::new(grace));
    let script = Arc::new(Script {
        takes: Mutex::new(takes.into()),
        told: Mutex::default(),
        drain: Arc::clone(&drain),
        end_at,
    });
    let info = WorkerInfo {
        worker: "w".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        profile: profile(),
        memory_bytes: 1,
        version: "0.1.0".to_owned(),
        metrics: None,
    };
    let config = WorkerConfig {
        run: None,
        address: "127.0.0.1".to_owned(),
        data: root.to_owned().into(),
        artifacts: root.to_owned().into(),
        checkpoints: None,
        profile: profile(),
        exit_when_idle: None,
        metrics: WorkerMetrics::new().unwrap(),
        liveness: Liveness::new(LONG),
    };
    let backend = Box::new(FakeBackend::new(&faults.parse().unwrap()));
    let queue: Arc<dyn WorkQueue> = Arc::<Script>::clone(&script);
    let ended = serve(&queue, &info, &config, backend, &drain);
    let told = script.told.lock().unwrap().clone();
    (told, ended)
}

pub(super) const LONG: Duration = Duration::from_secs(3600);

/// The records that a completion stored in `artifacts`.
pub(super) fn records(artifacts: &ArtifactStore, told: &Told) -> Vec<Record> {
    let Told::Complete(_, completion) = told else {
        panic!("{told:?}");
    };
    let read = |digest| artifacts.get(&digest, 1 << 20).unwrap();
    let manifest: Manifest = wire::decode(&read(completion.manifest)).unwrap();
    manifest
        .entries
        .iter()
        .map(|(_, record)| wire::decode(&read(*record)).unwrap())
        .collect()
}
