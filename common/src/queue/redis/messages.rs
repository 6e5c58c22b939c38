//! What travels through Redis as bytes: jobs, claims and hellos, each a [`wire`](crate::wire) envelope.

use serde::{Deserialize, Serialize};

use crate::plan::{Completion, Job, WorkerInfo, check_text, check_worker_name};
use crate::queue::lease::LeaseId;
use crate::wire::{Kind, Message};

/// Longest nonce, bytes.
const NONCE_LIMIT: usize = 64;

impl Message for Job {
    const KIND: Kind = Kind::Job;

    fn check(&self) -> Result<(), String> {
        Self::check(self)
    }
}

/// A result on its way to the coordinator. It carries the job, since by the time it is read the shard may be
/// done and forgotten; what it says is checked, not believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveredClaim {
    /// The lease it was made under.
    pub lease: LeaseId,
    pub worker: String,
    pub job: Job,
    pub completion: Completion,
}

impl Message for DeliveredClaim {
    const KIND: Kind = Kind::Claim;

    fn check(&self) -> Result<(), String> {
        check_worker_name(&self.worker)?;
        self.job.check()?;
        self.completion.check()
    }
}

/// A worker that wants to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it says of itself.
    pub info: WorkerInfo,
    /// Tells two that use the same name apart.
    pub nonce: String,
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;

    fn check(&self) -> Result<(), String> {
        self.info.check()?;
        check_text("a nonce", &self.nonce, NONCE_LIMIT)
    }
}
