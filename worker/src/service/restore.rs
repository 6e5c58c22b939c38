//! Shards of the baselines: batches up to a noise level and back.

use anofpdm_common::baseline::Setting;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::work::{RestorationWalk, distinct_settings};
use tch::{Device, Tensor};

use crate::baselines::{BaselineSetup, Restoration, Restored, RestoredBatch};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::fake::FakeDevice;
use crate::method_error::MethodError;

use super::Outcome;
use super::batches::{self, Columns, Computed, Shard, bad_plan, forward_error};
use super::failure::JobError;
use super::models::Models;
use super::restored::RestoredScoring;
use super::score::ScoringError;
use super::slices::Batch;

/// Computes the records of a shard of `walk`.
pub(super) fn run(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    walk: &RestorationWalk,
    models: &mut Models,
    fake: Option<&mut FakeDevice>,
) -> Result<Outcome, JobError> {
    let plan = shard.plan;
    let schedule = Schedule::linear(walk.diffusion_steps as usize, &plan.respacing.into())
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let needed = walk
        .networks
        .iter()
        .map(|network| plan.network(*network))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad_plan)?;
    let device = models.device();
    let networks = models.load(&needed, plan.precision, shard.artifacts, fake.as_deref())?;
    let setup = BaselineSetup {
        baseline: walk.baseline,
        form: plan.semantics.switches().baselines,
        sampler: walk.sampler,
        clip: walk.clip,
        schedule: &schedule,
    };
    let mut method = setup
        .build(networks.noise, networks.label)
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let work = RestoreWork {
        shard,
        walk,
        settings: distinct_settings(columns.cells.iter().copied()),
        modalities: plan.data.scored.iter().map(|m| i64::from(*m)).collect(),
    };
    let work = &work;
    batches::run(shard, columns, true, fake, &mut |index, batch| {
        let x0 = batch.x0(device);
        let Some(done) = work.restore(&mut method, index, &batch, &x0)? else {
            return Ok(None);
        };
        let x0 = x0.to_device(Device::Cpu);
        let restored = done.restored.into_iter().map(Restored::on_host);
        let restored: Vec<Restored> = restored.collect();
        Ok(Some(Computed {
            evaluations: done.evaluations + done.classifier_evaluations,
            records: Box::new(move || work.records(columns, &batch, &x0, &restored)),
        }))
    })
}

/// One shard, ready to be computed.
struct RestoreWork<'a> {
    shard: &'a Shard<'a>,
    walk: &'a RestorationWalk,
    settings: Vec<Setting>,
    modalities: Vec<i64>,
}

impl RestoreWork<'_> {
    /// One batch up and down; `None` when asked to stop.
    fn restore(
        &self,
        method: &mut Restoration<'_>,
        index: usize,
        batch: &Batch,
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
        columns: &Columns<'_>,
        batch: &Batch,
        x0: &Tensor,
        restored: &[Restored],
    ) -> Result<Vec<Record>, JobError> {
        let scoring = RestoredScoring {
            baseline: self.walk.baseline,
            x0,
            modalities: &self.modalities,
            component_area: self.shard.plan.component_area,
            median: self.shard.plan.mask_rule.median,
            size: batch.size,
            truth: &batch.truth,
        };
        columns
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
