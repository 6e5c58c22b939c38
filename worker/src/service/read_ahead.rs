//! Reads the next batch of a shard while the device computes the present one.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::slices::StoreError;
use anofpdm_common::work::ForwardPlan;

use super::failure::JobError;
use super::slices::{Batch, BatchReader, SliceError};

/// The batches of a shard, in order.
pub(super) struct BatchesAhead(Receiver<Result<Batch, SliceError>>);

impl BatchesAhead {
    /// The next batch, or why it cannot be read.
    pub(super) fn next_batch(&mut self) -> Result<Batch, JobError> {
        match self.0.recv() {
            Ok(read) => read.map_err(|error| failure(&error)),
            Err(_) => Err(JobError::text(
                ErrorClass::Transient,
                "the thread that reads slices has ended. This is a bug.",
            )),
        }
    }
}

/// Calls `work` with `batches`, read on a thread of its own. One batch at most waits in host memory beside the one
/// that is computed, and an error comes in its turn: what lies before it is done first.
pub(super) fn read_ahead<T>(
    reader: &BatchReader,
    plan: &ForwardPlan,
    batches: Range<u32>,
    with_truth: bool,
    work: impl FnOnce(BatchesAhead) -> Result<T, JobError>,
) -> Result<T, JobError> {
    std::thread::scope(|scope| {
        // Without a buffer: the reader holds a finished batch until it is taken, then reads the next.
        let (sender, receiver) = sync_channel(0);
        std::thread::Builder::new()
            .name("read-ahead".to_owned())
            .spawn_scoped(scope, move || {
                for index in batches {
                    let read = plan
                        .batch(index as usize)
                        .map_err(SliceError::from)
                        .and_then(|slices| reader.read(plan, slices, with_truth));
                    let failed = read.is_err();
                    // The receiver is gone once the shard has ended.
                    if sender.send(read).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error: io::Error| JobError::new(ErrorClass::Transient, &error).own())?;
        work(BatchesAhead(receiver))
    })
}

fn failure(error: &SliceError) -> JobError {
    match error {
        SliceError::Store(StoreError::Disk(_)) => JobError::new(ErrorClass::Transient, error).own(),
        SliceError::Store(_) => JobError::new(ErrorClass::Transient, error),
        _ => JobError::new(ErrorClass::BadInput, error),
    }
}
