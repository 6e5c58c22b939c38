//! The batches of a shard, one after another: read, computed, made into records, stored, counted.
//!
//! The device computes a batch while the next one is read and the records of the last are made, each on a thread of
//! its own. One batch at most waits between any two of them.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{Cell, ForwardPlan, PlanError, Trajectory};

use crate::fake::FakeDevice;
use crate::fake::faults::BatchFaults;
use crate::method_error::MethodError;

use super::artifacts::put;
use super::failure::JobError;
use super::read_ahead::{BatchesAhead, read_ahead};
use super::renewal::Progress;
use super::slices::{Batch, BatchReader};
use super::{JobResult, Outcome};

/// One shard and what it is computed with.
pub(super) struct Shard<'a> {
    pub(super) plan: &'a ForwardPlan,
    pub(super) batches: Range<u32>,
    /// Indices into the plan's cells.
    pub(super) cells: &'a [u16],
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    pub(super) progress: &'a Progress,
}

/// The cells of a shard, resolved.
pub(super) struct Columns<'a> {
    pub(super) trajectory: &'a Trajectory,
    pub(super) cells: Vec<&'a Cell>,
    numbers: &'a [u16],
}

impl<'a> Columns<'a> {
    /// The cells that `shard` names.
    ///
    /// # Errors
    /// When there is none, or they are of several trajectories.
    pub(super) fn of(shard: &Shard<'a>) -> Result<Self, JobError> {
        let plan = shard.plan;
        let bad = |message: &str| JobError::text(ErrorClass::BadInput, message);
        let cells = shard
            .cells
            .iter()
            .map(|cell| plan.cell(usize::from(*cell)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad_plan)?;
        let first = cells.first().ok_or_else(|| bad("a shard without cells"))?;
        if cells.iter().any(|cell| cell.trajectory != first.trajectory) {
            return Err(bad("a shard's cells must share one trajectory"));
        }
        Ok(Self {
            trajectory: plan.trajectory(first).map_err(bad_plan)?,
            cells,
            numbers: shard.cells,
        })
    }
}

/// What one batch yields.
pub(super) struct Computed<'a> {
    /// Makes the records of the shard's cells, in their order, from what is in host memory.
    pub(super) records: Box<dyn FnOnce() -> Result<Vec<Record>, JobError> + Send + 'a>,
    /// Network evaluations, those of padding included.
    pub(super) evaluations: u64,
}

/// Computes one batch, by its number in the plan; `None` when it was asked to stop.
pub(super) type Compute<'a> =
    dyn FnMut(usize, Batch) -> Result<Option<Computed<'a>>, JobError> + 'a;

/// A batch on its way from the device to the artifact store.
struct Passed<'a> {
    index: usize,
    /// Real slices, and those of padding.
    slices: (u64, u64),
    done: Computed<'a>,
    faults: Option<BatchFaults>,
}

/// Runs every batch of a shard through `compute`. Nothing of the shard counts before all of it is stored. `with_truth`
/// reads the masks of the slices too.
pub(super) fn run<'a>(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    with_truth: bool,
    fake: Option<&mut FakeDevice>,
    compute: &mut Compute<'a>,
) -> Result<Outcome, JobError> {
    let reader = BatchReader::new(shard.slices);
    let range = shard.batches.clone();
    read_ahead(&reader, shard.plan, range, with_truth, |batches| {
        each(shard, columns, batches, fake, compute)
    })
}

fn each<'a>(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    mut batches: BatchesAhead,
    mut fake: Option<&mut FakeDevice>,
    compute: &mut Compute<'a>,
) -> Result<Outcome, JobError> {
    std::thread::scope(|scope| {
        // Without a buffer: a computed batch is handed over when the records of the one before are stored.
        let (sender, receiver) = sync_channel::<Passed<'_>>(0);
        let recording = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn_scoped(scope, || store(shard, columns, receiver))
            .map_err(|error| JobError::new(ErrorClass::Transient, &error).own())?;
        let mut stopped = false;
        for index in shard.batches.clone() {
            let index = index as usize;
            let batch = batches.next_batch()?;
            let slices = batch.slices as u64;
            let padding = (batch.identities.len() - batch.slices) as u64;
            let faults = match &mut fake {
                Some(fake) => Some(
                    fake.begin_batch()
                        .map_err(|error| JobError::new(ErrorClass::Transient, &error))?,
                ),
                None => None,
            };
            let Some(done) = compute(index, batch)? else {
                stopped = true;
                break;
            };
            let passed = Passed {
                index,
                slices: (slices, padding),
                done,
                faults,
            };
            // Nobody takes it when a record could not be made or stored: that error is told below.
            if sender.send(passed).is_err() {
                break;
            }
        }
        drop(sender);
        let result = recording
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(if stopped {
            Outcome::Stopped
        } else {
            Outcome::Done(result)
        })
    })
}

/// Makes and stores the records of batches as they come.
fn store(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    computed: Receiver<Passed<'_>>,
) -> Result<JobResult, JobError> {
    let mut result = JobResult {
        entries: Vec::new(),
        evaluations: 0,
        padding: 0,
    };
    for passed in computed {
        let records = (passed.done.records)()?;
        for (number, mut record) in columns.numbers.iter().zip(records) {
            if let Some(faults) = passed.faults {
                faults.corrupt(&mut record);
            }
            let key = shard
                .plan
                .record_key(passed.index, usize::from(*number))
                .map_err(bad_plan)?;
            result.entries.push((key, put(shard.artifacts, &record)?));
            shard.progress.tick();
        }
        let (slices, padding) = passed.slices;
        let each = passed.done.evaluations / (slices + padding).max(1);
        result.evaluations += each * slices;
        result.padding += each * padding;
    }
    Ok(result)
}

pub(super) fn bad_plan(error: PlanError) -> JobError {
    JobError::new(ErrorClass::BadInput, &error)
}

/// A numeric failure, with the slice named.
pub(super) fn forward_error(plan: &ForwardPlan, batch: usize, error: &MethodError) -> JobError {
    let mut failure = JobError::new(ErrorClass::BadInput, error);
    if let MethodError::NotFinite(what) = error
        && let Ok(slices) = plan.batch(batch)
        && let Some(slice) = usize::try_from(what.slice)
            .ok()
            .and_then(|slice| slices.get(slice).or(slices.last()))
        && let Ok(subject) = plan.subject(*slice)
    {
        failure.message = format!(
            "subject {subject}, slice {}: {}",
            slice.position, failure.message
        );
    }
    failure
}
