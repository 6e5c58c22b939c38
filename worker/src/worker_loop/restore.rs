//! Shards of the baselines: batches up to a noise level and back.

use anofpdm_common::baseline::Setting;
use anofpdm_common::plan::{RestorationWalk, distinct_settings};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use tch::{Device, Tensor};

use crate::baselines::{BaselineSetup, Restoration, Restored, RestoredBatch};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;

use super::JobOutcome;
use super::batch_reader::SliceBatch;
use super::job_error::JobError;
use super::network_cache::{NetworkCache, Networks};
use super::read_ahead::BatchesAhead;
use super::record_writer::{ComputedBatch, RecordWriter};
use super::restored::RestoredScoring;
use super::score::ScoringError;
use super::shard::{Shard, ShardCells, bad_plan, forward_error};

/// Computes the records of a shard of `walk`. Nothing of the shard counts before all of it is stored.
pub(super) fn run(
    shard: &Shard<'_>,
    cells: &ShardCells<'_>,
    walk: &RestorationWalk,
    cache: &mut NetworkCache,
) -> Result<JobOutcome, JobError> {
    let plan = shard.plan;
    let schedule = Schedule::linear(walk.diffusion_steps as usize, &plan.respacing.into())
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let needed = walk
        .networks
        .iter()
        .map(|network| plan.network(*network))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad_plan)?;
    let device = cache.device();
    let Networks {
        noise,
        label,
        backend,
    } = cache.load(&needed, plan.precision, shard.artifacts)?;
    let setup = BaselineSetup {
        baseline: walk.baseline,
        form: plan.semantics.switches().baselines,
        sampler: walk.sampler,
        clip: walk.clip,
        schedule: &schedule,
    };
    let mut method = setup
        .build(noise, label)
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let work = RestorationShard {
        shard,
        walk,
        settings: distinct_settings(cells.cells.iter().copied()),
        modalities: plan.data.scored.iter().map(|m| i64::from(*m)).collect(),
    };
    let work = &work;
    std::thread::scope(|scope| {
        let batches = BatchesAhead::start(scope, shard, true)?;
        let records = RecordWriter::start(
            scope,
            shard,
            |index, batch, (x0, restored): &(Tensor, Vec<Restored>)| {
                work.records(cells, index, batch, x0, restored)
            },
        )?;
        for batch in batches {
            let (index, batch) = batch?;
            let hook = backend.before_batch()?;
            let x0 = batch.x0(device);
            let Some(done) = work.restore(&mut method, index, &batch, &x0)? else {
                records.finish()?;
                return Ok(JobOutcome::Stopped);
            };
            let restored: Vec<Restored> =
                done.restored.into_iter().map(Restored::on_host).collect();
            let handed_over = records.send(ComputedBatch {
                index,
                batch,
                evaluations: done.evaluations + done.classifier_evaluations,
                result: (x0.to_device(Device::Cpu), restored),
                hook,
            });
            if !handed_over {
                break;
            }
        }
        Ok(JobOutcome::Done(records.finish()?))
    })
}

/// One shard, ready to be computed.
struct RestorationShard<'a> {
    shard: &'a Shard<'a>,
    walk: &'a RestorationWalk,
    settings: Vec<Setting>,
    modalities: Vec<i64>,
}

impl RestorationShard<'_> {
    /// One batch up and down; `None` when asked to stop.
    fn restore(
        &self,
        method: &mut Restoration<'_>,
        index: usize,
        batch: &SliceBatch,
        x0: &Tensor,
    ) -> Result<Option<RestoredBatch>, JobError> {
        let noise = NoiseSource::Counter {
            // A method that draws no noise has no seed, and asks for none.
            seed: self.walk.seed.unwrap_or_default(),
            slices: batch.identities.clone(),
        };
        let progress = self.shard.progress;
        let done = method.restore(x0, &noise, &self.settings, &mut || progress.step());
        match done {
            Ok(done) => Ok(Some(done)),
            Err(MethodError::Stopped(_)) => Ok(None),
            Err(error) => Err(forward_error(self.shard.plan, index, &error)),
        }
    }

    fn records(
        &self,
        cells: &ShardCells<'_>,
        index: usize,
        batch: &SliceBatch,
        x0: &Tensor,
        restored: &[Restored],
    ) -> Result<Vec<Record>, JobError> {
        let wanted = self.shard.wanted(index)?;
        let scoring = RestoredScoring {
            baseline: self.walk.baseline,
            x0,
            modalities: &self.modalities,
            component_area: self.shard.plan.component_area,
            median: self.shard.plan.mask_rule.median,
            size: batch.size,
            truth: &batch.truth,
            wanted: &wanted,
        };
        cells
            .cells
            .iter()
            .map(|cell| {
                let setting = cell.setting();
                let restored = setting.and_then(|setting| {
                    let mut all = restored.iter();
                    all.find(|restored| restored.setting == setting)
                });
                restored
                    .ok_or(ScoringError::Missing("such setting"))
                    .and_then(|restored| scoring.record(restored, cell))
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))
            })
            .collect()
    }
}
