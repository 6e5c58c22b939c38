//! Records, made and stored on a thread of their own while the device computes the next batch.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::telemetry::in_context;

use crate::backend::RecordHook;

use super::JobResult;
use super::artifacts::put;
use super::batch_reader::SliceBatch;
use super::job_error::JobError;
use super::shard::{Shard, bad_plan};
use super::worker_metrics::BatchPart;

pub(super) struct ComputedBatch<T> {
    /// Its number in the plan.
    pub(super) index: usize,
    pub(super) batch: SliceBatch,
    /// What its records are made of, in host memory.
    pub(super) result: T,
    /// Network evaluations, those of padding included.
    pub(super) evaluations: u64,
    /// Of the backend.
    pub(super) hook: Option<RecordHook>,
}

/// The thread that makes and stores the records of a shard.
pub(super) struct RecordWriter<'scope, T> {
    computed: SyncSender<ComputedBatch<T>>,
    thread: ScopedJoinHandle<'scope, Result<JobResult, JobError>>,
}

impl<'scope, T: Send + 'scope> RecordWriter<'scope, T> {
    /// Starts it. `make` makes the records of a batch of this number, one for each cell of the shard, in their order.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        shard: &'env Shard<'env>,
        make: impl Fn(usize, &SliceBatch, &T) -> Result<Vec<Record>, JobError> + Send + 'scope,
    ) -> Result<Self, JobError> {
        // Without a buffer: a computed batch is handed over when the records of the one before are stored.
        let (sender, receiver) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn_scoped(scope, in_context(move || store(shard, &receiver, make)))
            .map_err(|error| JobError::new(ErrorClass::Transient, &error).caused_here())?;
        Ok(Self {
            computed: sender,
            thread,
        })
    }

    /// Hands a batch over; false once a record could not be made or stored, which [`finish`](Self::finish) then tells.
    pub(super) fn send(&self, computed: ComputedBatch<T>) -> bool {
        self.computed.send(computed).is_ok()
    }

    /// Waits until everything is stored.
    pub(super) fn finish(self) -> Result<JobResult, JobError> {
        drop(self.computed);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn store<T>(
    shard: &Shard<'_>,
    computed: &Receiver<ComputedBatch<T>>,
    make: impl Fn(usize, &SliceBatch, &T) -> Result<Vec<Record>, JobError>,
) -> Result<JobResult, JobError> {
    let mut result = JobResult {
        entries: Vec::new(),
        evaluations: 0,
        padding: 0,
    };
    for done in computed {
        let begun = Instant::now();
        let records = make(done.index, &done.batch, &done.result)?;
        for (cell, mut record) in shard.cells.iter().zip(records) {
            if let Some(hook) = &done.hook {
                hook(&mut record);
            }
            let key = shard
                .plan
                .record_key(done.index, usize::from(*cell))
                .map_err(bad_plan)?;
            result.entries.push((key, put(shard.artifacts, &record)?));
            shard.progress.tick();
        }
        shard.metrics.took(BatchPart::Records, begun.elapsed());
        let all = done.batch.identities.len().max(1) as u64;
        let real = done.batch.slices as u64;
        let each = done.evaluations / all;
        result.evaluations += each * real;
        result.padding += each * (all - real);
    }
    Ok(result)
}
