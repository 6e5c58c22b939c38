//! Reads the next batch of a shard while the device computes the present one.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;
use std::time::Instant;

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::slices::StoreError;
use anofpdm_common::telemetry::in_context;

use super::batch_reader::{BatchReader, SliceBatch, SliceError};
use super::job_error::JobError;
use super::shard::Shard;
use super::worker_metrics::{BatchMetrics, BatchPart};

/// The batches of a shard with their numbers in the plan, in order. An error comes in its turn: what lies before it is
/// computed first.
pub(super) struct BatchesAhead<'a> {
    left: Range<u32>,
    read: Receiver<Result<SliceBatch, SliceError>>,
    metrics: &'a BatchMetrics,
    /// When the device was given the batch it is at.
    given: Option<Instant>,
}

impl<'a> BatchesAhead<'a> {
    /// Reads the batches of `shard` on a thread of `scope`: one batch at most waits in host memory beside the one that
    /// is computed. `with_truth` reads the masks of the slices too.
    pub(super) fn start<'scope, 'env: 'a>(
        scope: &'scope Scope<'scope, 'env>,
        shard: &'env Shard<'env>,
        with_truth: bool,
    ) -> Result<Self, JobError> {
        let reader = BatchReader::new(shard.slices);
        // Without a buffer: the reader holds a finished batch until it is taken, then reads the next.
        let (sender, receiver) = sync_channel(0);
        std::thread::Builder::new()
            .name("read-ahead".to_owned())
            .spawn_scoped(
                scope,
                in_context(move || {
                    for index in shard.batches.clone() {
                        let read = shard
                            .plan
                            .batch(index as usize)
                            .map_err(SliceError::from)
                            .and_then(|slices| reader.read(shard.plan, slices, with_truth));
                        let failed = read.is_err();
                        // The receiver is gone once the shard has ended.
                        if sender.send(read).is_err() || failed {
                            return;
                        }
                    }
                }),
            )
            .map_err(|error| JobError::new(ErrorClass::Transient, &error).caused_here())?;
        Ok(Self {
            left: shard.batches.clone(),
            read: receiver,
            metrics: shard.metrics,
            given: None,
        })
    }
}

impl Iterator for BatchesAhead<'_> {
    type Item = Result<(usize, SliceBatch), JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        let asked = Instant::now();
        if let Some(given) = self.given.take() {
            self.metrics.took(BatchPart::Device, asked - given);
        }
        let index = self.left.next()?;
        let read = self.read.recv();
        self.metrics.took(BatchPart::Wait, asked.elapsed());
        self.given = Some(Instant::now());
        Some(match read {
            Ok(Ok(batch)) => Ok((index as usize, batch)),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(JobError::text(
                ErrorClass::Transient,
                "the thread that reads slices has ended. This is a bug.",
            )),
        })
    }
}

fn failure(error: &SliceError) -> JobError {
    match error {
        SliceError::Store(StoreError::Disk(_)) => {
            JobError::new(ErrorClass::Transient, error).caused_here()
        }
        SliceError::Store(_) => JobError::new(ErrorClass::Transient, error),
        _ => JobError::new(ErrorClass::BadInput, error),
    }
}
