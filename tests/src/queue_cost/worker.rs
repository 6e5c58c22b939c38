//! A worker that does nothing but take and complete.

use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{Completion, NumericProfile, WorkerInfo};
use anofpdm_common::queue::{QueueError, Take, connect};

use super::RUN;

/// Serves the run at `address` until it is finished or, with `hold`, until it has a shard, which it then keeps.
pub fn work(address: &str, name: &str, hold: bool) -> Result<(), QueueError> {
    let queue = connect(address, Some(RUN))?;
    queue.register(&info(name))?;
    loop {
        match queue.take(Duration::from_secs(5))? {
            Take::Leased(_) if hold => loop {
                std::thread::park();
            },
            Take::Leased(lease) => queue.complete(
                &lease,
                &Completion {
                    manifest: Digest::of(&lease.id.shard.to_le_bytes()),
                    evaluations: 1,
                    padding: 0,
                    device_millis: 0,
                    millijoules: None,
                },
            )?,
            Take::Empty => {}
            Take::Finished | Take::Drain | Take::Retired(_) => return queue.leave(),
        }
    }
}

fn info(name: &str) -> WorkerInfo {
    WorkerInfo {
        worker: name.to_owned(),
        host: "here".to_owned(),
        pid: std::process::id(),
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "none".to_owned(),
            cpu_capability: "none".to_owned(),
            threads: 1,
        },
        memory_bytes: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        metrics: None,
    }
}
