//! What the queue itself costs: shards without work, through either driver, with real processes on both sides.

pub mod coordinator;
pub mod measurement;
pub mod watched;
pub mod worker;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, Job, Stage, Task};

/// The run's name in Redis.
pub const RUN: &str = "cost-00c0ffee";

/// A job as a run has them: one batch, a few cells.
pub fn job(shard: u64) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches(BatchRun {
            first: u32::try_from(shard).unwrap_or(u32::MAX - 1),
            count: 1,
            cells: (0..12).collect(),
        }),
    }
}
