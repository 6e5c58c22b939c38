//! Shards of calibration and scoring: batches through the forward process, records into the store.

use std::ops::{ControlFlow, Range};

use anofpdm_common::ids::Digest;
use anofpdm_common::method::MapKind;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{Cell, CellOutput, ForwardPlan, NetworkPlan, PlanError, Trajectory};
use tch::Device;

use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::fake::FakeDevice;
use crate::methods::anofpdm::{ForwardError, ForwardPass, ForwardResult};
use crate::methods::predictor::NoisePredictor;
use crate::nn::weights;

use super::artifacts::put;
use super::failure::JobError;
use super::read_ahead::{BatchesAhead, read_ahead};
use super::renewal::Progress;
use super::score::Scoring;
use super::slices::{Batch, BatchReader};
use super::{JobResult, Outcome};

/// Runs forward shards on one device; keeps the model between shards of the same weights.
pub(super) struct ForwardRunner {
    device: Device,
    model: Option<Model>,
}

/// A network on the device.
struct Model {
    weights: Digest,
    config: NetworkConfig,
    network: Box<dyn NoisePredictor>,
}

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
struct Columns<'a> {
    /// Number and cell.
    chosen: Vec<(u16, &'a Cell)>,
    trajectory: Trajectory,
    network: &'a NetworkPlan,
    demand: Demand,
}

impl<'a> Columns<'a> {
    fn of(shard: &Shard<'a>) -> Result<Self, JobError> {
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
        let trajectory = *plan.trajectory(first).map_err(bad_plan)?;
        Ok(Self {
            network: plan.network(&trajectory).map_err(bad_plan)?,
            demand: Demand::of(&cells),
            trajectory,
            chosen: shard.cells.iter().copied().zip(cells).collect(),
        })
    }
}

impl ForwardRunner {
    pub(super) const fn new(device: Device) -> Self {
        Self {
            device,
            model: None,
        }
    }

    /// Drops the model, and with it most of the device's memory.
    pub(super) fn unload(&mut self) {
        self.model = None;
    }

    /// Computes the records of a shard. Nothing of it counts before all of it is stored.
    pub(super) fn run(
        &mut self,
        shard: &Shard<'_>,
        fake: Option<&mut FakeDevice>,
    ) -> Result<Outcome, JobError> {
        let columns = Columns::of(shard)?;
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &shard.plan.respacing.into())
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
        self.load(columns.network, shard.artifacts, fake.as_deref())?;
        let reader = BatchReader::new(shard.slices);
        read_ahead(
            &reader,
            shard.plan,
            shard.batches.clone(),
            columns.demand.truth,
            |batches| self.batches(shard, &columns, &schedule, batches, fake),
        )
    }

    fn batches(
        &mut self,
        shard: &Shard<'_>,
        columns: &Columns<'_>,
        schedule: &Schedule,
        mut batches: BatchesAhead,
        mut fake: Option<&mut FakeDevice>,
    ) -> Result<Outcome, JobError> {
        let mut result = JobResult {
            entries: Vec::new(),
            evaluations: 0,
            padding: 0,
        };
        for index in shard.batches.clone() {
            let batch = batches.next_batch()?;
            let faults = match &mut fake {
                Some(fake) => Some(
                    fake.begin_batch()
                        .map_err(|error| JobError::new(ErrorClass::Transient, &error))?,
                ),
                None => None,
            };
            let Some(done) = self.pass(shard, columns, schedule, index as usize, &batch)? else {
                return Ok(Outcome::Stopped);
            };
            let scoring = Scoring {
                switches: shard.plan.semantics.switches(),
                component_area: shard.plan.component_area,
                size: batch.size,
                truth: &batch.truth,
                slices: batch.slices,
            };
            for (number, cell) in &columns.chosen {
                let mut record = scoring
                    .record(&done, cell)
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
                if let Some(faults) = faults {
                    faults.corrupt(&mut record);
                }
                let key = shard
                    .plan
                    .record_key(index as usize, usize::from(*number))
                    .map_err(bad_plan)?;
                result.entries.push((key, put(shard.artifacts, &record)?));
                shard.progress.tick();
            }
            let each = done.evaluations / batch.identities.len() as u64;
            result.evaluations += each * batch.slices as u64;
            result.padding += each * (batch.identities.len() - batch.slices) as u64;
        }
        Ok(Outcome::Done(result))
    }

    /// One batch through the network; `None` when asked to stop.
    fn pass(
        &mut self,
        shard: &Shard<'_>,
        columns: &Columns<'_>,
        schedule: &Schedule,
        index: usize,
        batch: &Batch,
    ) -> Result<Option<ForwardResult>, JobError> {
        let plan = shard.plan;
        let demand = &columns.demand;
        let noise = NoiseSource::Counter {
            seed: columns.trajectory.seed,
            slices: batch.identities.clone(),
        };
        let lesion = demand.lesion.then(|| batch.lesion(self.device));
        let modalities: Vec<i64> = plan.data.scored.iter().map(|m| i64::from(*m)).collect();
        let pass = ForwardPass {
            schedule,
            switches: plan.semantics.switches(),
            encoding: columns.trajectory.encoding,
            steps: plan.steps as usize,
            guidance: &demand.guidance,
            modalities: &modalities,
            maps: &demand.maps,
            end_step_ratios: &demand.end_step_ratios,
            keep: &[],
            lesion: lesion.as_ref(),
        };
        let Some(model) = self.model.as_mut() else {
            return Err(JobError::text(
                ErrorClass::Fatal,
                "the model is not loaded. This is a bug.",
            ));
        };
        let x0 = batch.x0(self.device);
        let done = pass.run(model.network.as_mut(), &x0, &noise, &mut |_| {
            shard.progress.tick();
            if shard.progress.stop_asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        match done {
            Ok(done) => Ok(Some(done)),
            Err(ForwardError::Stopped(_)) => Ok(None),
            Err(error) => Err(forward_error(plan, index, &error)),
        }
    }

    fn load(
        &mut self,
        plan: &NetworkPlan,
        artifacts: &ArtifactStore,
        fake: Option<&FakeDevice>,
    ) -> Result<(), JobError> {
        if self
            .model
            .as_ref()
            .is_some_and(|model| model.weights == plan.weights && model.config == plan.config)
        {
            return Ok(());
        }
        let path = artifacts.verify(&plan.weights)?;
        // Two models at once may not fit.
        self.unload();
        let network: Box<dyn NoisePredictor> = match fake {
            Some(fake) => Box::new(fake.predictor(&plan.weights)),
            None => Box::new(
                weights::open_unet(&path, &plan.config, self.device)
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?,
            ),
        };
        self.model = Some(Model {
            weights: plan.weights,
            config: plan.config.clone(),
            network,
        });
        Ok(())
    }
}

fn bad_plan(error: PlanError) -> JobError {
    JobError::new(ErrorClass::BadInput, &error)
}

/// A numeric failure, with the slice named.
fn forward_error(plan: &ForwardPlan, batch: usize, error: &ForwardError) -> JobError {
    let mut failure = JobError::new(ErrorClass::BadInput, error);
    if let ForwardError::NotFinite(what) = error
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
