//! Shards of AnoFPDM: batches through the forward process.

use anofpdm_common::method::MapKind;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::work::{Cell, CellOutput, ForwardWalk};
use tch::Device;

use crate::anofpdm::{ForwardPass, ForwardResult};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::fake::FakeDevice;
use crate::method_error::MethodError;
use crate::predictor::NoisePredictor;

use super::Outcome;
use super::batches::{self, Columns, Computed, Shard, bad_plan, forward_error};
use super::failure::JobError;
use super::models::Models;
use super::score::Scoring;
use super::slices::Batch;

/// What the cells of a shard ask of a pass, together.
struct Demand {
    guidance: Vec<f64>,
    maps: Vec<MapKind>,
    end_step_ratios: Vec<f64>,
    lesion: bool,
    truth: bool,
}

impl Demand {
    fn of(cells: &[&Cell]) -> Self {
        let mut demand = Self {
            guidance: Vec::new(),
            maps: Vec::new(),
            end_step_ratios: Vec::new(),
            lesion: false,
            truth: false,
        };
        for cell in cells {
            add(&mut demand.guidance, cell.guidance);
            if let CellOutput::Mask { map, figures, .. } = &cell.output {
                demand.truth = true;
                demand.lesion |= figures.traces;
                add(&mut demand.maps, *map);
                for ratio in &figures.end_step_ratios {
                    add(&mut demand.end_step_ratios, *ratio);
                }
            }
        }
        demand
    }
}

fn add<T: PartialEq>(values: &mut Vec<T>, value: T) {
    if !values.contains(&value) {
        values.push(value);
    }
}

/// Computes the records of a shard of `walk`.
pub(super) fn run(
    shard: &Shard<'_>,
    columns: &Columns<'_>,
    walk: &ForwardWalk,
    models: &mut Models,
    fake: Option<&mut FakeDevice>,
) -> Result<Outcome, JobError> {
    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &shard.plan.respacing.into())
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let network = shard.plan.network(walk.network).map_err(bad_plan)?;
    let device = models.device();
    let networks = models.load(
        &[network],
        shard.plan.precision,
        shard.artifacts,
        fake.as_deref(),
    )?;
    let work = ForwardWork {
        shard,
        walk,
        schedule: &schedule,
        demand: Demand::of(&columns.cells),
        device,
    };
    let work = &work;
    let predictor = networks.noise;
    batches::run(
        shard,
        columns,
        work.demand.truth,
        fake,
        &mut |index, batch| {
            let Some(done) = work.pass(index, &batch, predictor)? else {
                return Ok(None);
            };
            let done = done.on_host();
            Ok(Some(Computed {
                evaluations: done.evaluations,
                records: Box::new(move || work.records(columns, &batch, &done)),
            }))
        },
    )
}

/// One shard, ready to be computed.
struct ForwardWork<'a> {
    shard: &'a Shard<'a>,
    walk: &'a ForwardWalk,
    schedule: &'a Schedule,
    demand: Demand,
    device: Device,
}

impl ForwardWork<'_> {
    /// One batch through the network; `None` when asked to stop.
    fn pass(
        &self,
        index: usize,
        batch: &Batch,
        predictor: &mut dyn NoisePredictor,
    ) -> Result<Option<ForwardResult>, JobError> {
        let (plan, demand) = (self.shard.plan, &self.demand);
        let noise = NoiseSource::Counter {
            seed: self.walk.seed,
            slices: batch.identities.clone(),
        };
        let lesion = demand.lesion.then(|| batch.lesion(self.device));
        let modalities: Vec<i64> = plan.data.scored.iter().map(|m| i64::from(*m)).collect();
        let pass = ForwardPass {
            schedule: self.schedule,
            switches: plan.semantics.switches(),
            encoding: self.walk.encoding,
            steps: plan.steps as usize,
            guidance: &demand.guidance,
            modalities: &modalities,
            maps: &demand.maps,
            end_step_ratios: &demand.end_step_ratios,
            keep: &[],
            lesion: lesion.as_ref(),
        };
        let progress = self.shard.progress;
        let done = pass.run(predictor, &batch.x0(self.device), &noise, &mut |_| {
            progress.step()
        });
        match done {
            Ok(done) => Ok(Some(done)),
            Err(MethodError::Stopped(_)) => Ok(None),
            Err(error) => Err(forward_error(plan, index, &error)),
        }
    }

    fn records(
        &self,
        columns: &Columns<'_>,
        batch: &Batch,
        done: &ForwardResult,
    ) -> Result<Vec<Record>, JobError> {
        let scoring = Scoring {
            switches: self.shard.plan.semantics.switches(),
            component_area: self.shard.plan.component_area,
            mask_rule: self.shard.plan.mask_rule,
            size: batch.size,
            truth: &batch.truth,
            slices: batch.slices,
        };
        columns
            .cells
            .iter()
            .map(|cell| {
                scoring
                    .record(done, cell)
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))
            })
            .collect()
    }
}
