//! Shards of AnoFPDM: batches through the forward process.

use anofpdm_common::method::MapKind;
use anofpdm_common::plan::{Cell, CellOutput, ForwardWalk, Wanted};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::record::Record;
use anofpdm_common::spec::DIFFUSION_STEPS;
use tch::Device;

use crate::anofpdm::{ForwardPass, ForwardResult};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;
use crate::predictor::NoisePredictor;

use super::JobOutcome;
use super::batch_reader::SliceBatch;
use super::exhibit::ExhibitedBatch;
use super::job_error::JobError;
use super::network_cache::{NetworkCache, Networks};
use super::read_ahead::BatchesAhead;
use super::record_writer::{ComputedBatch, RecordWriter};
use super::score::Scoring;
use super::shard::{Shard, ShardCells, bad_plan, forward_error};

/// What the cells of a shard ask of a pass, together.
struct PassRequirements {
    guidance: Vec<f64>,
    maps: Vec<MapKind>,
    end_step_ratios: Vec<f64>,
    lesion: bool,
    truth: bool,
    /// Whether exhibits are made.
    exhibits: bool,
}

impl PassRequirements {
    fn of(cells: &[&Cell]) -> Self {
        let mut required = Self {
            guidance: Vec::new(),
            maps: Vec::new(),
            end_step_ratios: Vec::new(),
            lesion: false,
            truth: false,
            exhibits: false,
        };
        for cell in cells {
            add(&mut required.guidance, cell.guidance);
            match &cell.output {
                CellOutput::Mask { map, figures, .. } => {
                    required.truth = true;
                    required.lesion |= figures.traces;
                    add(&mut required.maps, *map);
                    for ratio in &figures.end_step_ratios {
                        add(&mut required.end_step_ratios, *ratio);
                    }
                }
                CellOutput::Candidate { .. } => {
                    required.truth = true;
                    add(&mut required.maps, MapKind::Aam);
                }
                CellOutput::Exhibit { map } => {
                    required.truth = true;
                    required.exhibits = true;
                    add(&mut required.maps, *map);
                }
                CellOutput::Traces
                | CellOutput::Overlaps { .. }
                | CellOutput::Restored { .. }
                | CellOutput::RestoredExhibit { .. } => {}
            }
        }
        required
    }
}

fn add<T: PartialEq>(values: &mut Vec<T>, value: T) {
    if !values.contains(&value) {
        values.push(value);
    }
}

/// Computes the records of a shard of `walk`. Nothing of the shard counts before all of it is stored.
pub(super) fn run(
    shard: &Shard<'_>,
    cells: &ShardCells<'_>,
    walk: &ForwardWalk,
    cache: &mut NetworkCache,
) -> Result<JobOutcome, JobError> {
    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &shard.plan.respacing.into())
        .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
    let network = shard.plan.network(walk.network).map_err(bad_plan)?;
    let device = cache.device();
    let Networks { noise, backend, .. } =
        cache.load(&[network], shard.plan.precision, shard.artifacts)?;
    let work = ForwardShard {
        shard,
        walk,
        schedule: &schedule,
        required: PassRequirements::of(&cells.cells),
        device,
    };
    let work = &work;
    std::thread::scope(|scope| {
        let batches = BatchesAhead::start(scope, shard, work.required.truth)?;
        let records = RecordWriter::start(scope, shard, |index, batch, done| {
            work.records(cells, index, batch, done)
        })?;
        for batch in batches {
            let (index, batch) = batch?;
            let hook = backend.before_batch()?;
            let Some(done) = work.pass(index, &batch, noise)? else {
                records.finish()?;
                return Ok(JobOutcome::Stopped);
            };
            let handed_over = records.send(ComputedBatch {
                index,
                batch,
                evaluations: done.evaluations,
                result: done.on_host(),
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
struct ForwardShard<'a> {
    shard: &'a Shard<'a>,
    walk: &'a ForwardWalk,
    schedule: &'a Schedule,
    required: PassRequirements,
    device: Device,
}

impl ForwardShard<'_> {
    /// One batch through the network; `None` when asked to stop.
    fn pass(
        &self,
        index: usize,
        batch: &SliceBatch,
        predictor: &mut dyn NoisePredictor,
    ) -> Result<Option<ForwardResult>, JobError> {
        let (plan, required) = (self.shard.plan, &self.required);
        let noise = NoiseSource::Counter {
            seed: self.walk.seed,
            slices: batch.identities.clone(),
        };
        let wanted = self.shard.wanted(index)?;
        let any = |of: fn(&Wanted) -> bool| required.exhibits && wanted.iter().any(of);
        let lesion = required.lesion || any(|wanted| wanted.sequences);
        let lesion = lesion.then(|| batch.lesion(self.device));
        // Of the batches that hold a slice to be looked at step by step, and of no other: whole predictions are large.
        let keep: Vec<usize> = match any(|wanted| wanted.steps) {
            true => {
                let steps = plan.exhibits.step_indices.iter();
                steps.map(|step| *step as usize).collect()
            }
            false => Vec::new(),
        };
        let modalities: Vec<i64> = self.modalities().collect();
        let pass = ForwardPass {
            schedule: self.schedule,
            switches: plan.semantics.switches(),
            encoding: self.walk.encoding,
            steps: plan.steps as usize,
            guidance: &required.guidance,
            modalities: &modalities,
            maps: &required.maps,
            end_step_ratios: &required.end_step_ratios,
            keep: &keep,
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

    /// Channels that maps are made of.
    fn modalities(&self) -> impl Iterator<Item = i64> + '_ {
        self.shard.plan.data.scored.iter().map(|m| i64::from(*m))
    }

    fn records(
        &self,
        cells: &ShardCells<'_>,
        index: usize,
        batch: &SliceBatch,
        done: &ForwardResult,
    ) -> Result<Vec<Record>, JobError> {
        let wanted = self.shard.wanted(index)?;
        let modalities: Vec<i64> = self.modalities().collect();
        let scoring = Scoring {
            switches: self.shard.plan.semantics.switches(),
            component_area: self.shard.plan.component_area,
            mask_rule: self.shard.plan.mask_rule,
            size: batch.size,
            truth: &batch.truth,
            slices: batch.slices,
        };
        let exhibited = ExhibitedBatch {
            wanted: &wanted,
            schedule: self.schedule,
            x0: &batch.x0(Device::Cpu),
            modalities: &modalities,
        };
        cells
            .cells
            .iter()
            .map(|cell| {
                scoring
                    .record(done, cell, &exhibited)
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))
            })
            .collect()
    }
}
