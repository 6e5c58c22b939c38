//! Shards of calibration and scoring: batches through the forward process, records into the store.

use std::ops::{ControlFlow, Range};

use anofpdm_common::ids::Digest;
use anofpdm_common::method::MapKind;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::work::{Cell, CellOutput, ForwardPlan, NetworkPlan, PlanError};
use tch::{Device, Tensor};

use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::methods::anofpdm::{ForwardError, ForwardPass};
use crate::nn::UNet;
use crate::nn::weights;

use super::artifacts::put;
use super::renewal::Progress;
use super::score::Scoring;
use super::slices::{Batch, BatchReader, SliceError};
use super::{JobError, JobResult, Outcome};

/// Runs forward shards on one device; keeps the model between shards of the same weights.
pub(super) struct ForwardRunner {
    slices: BatchReader,
    device: Device,
    model: Option<(Digest, UNet)>,
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

impl ForwardRunner {
    pub(super) fn new(store: &SliceStore, device: Device) -> Self {
        Self {
            slices: BatchReader::new(store),
            device,
            model: None,
        }
    }

    /// Computes the records of `cells` for `batches`. Nothing of a shard counts before all of it is stored.
    pub(super) fn run(
        &mut self,
        plan: &ForwardPlan,
        batches: Range<u32>,
        cells: &[u16],
        artifacts: &ArtifactStore,
        progress: &Progress,
    ) -> Result<Outcome, JobError> {
        let bad_plan = |error: PlanError| JobError::new(ErrorClass::BadInput, &error);
        let chosen = cells
            .iter()
            .map(|cell| plan.cell(usize::from(*cell)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad_plan)?;
        let first = chosen.first().ok_or_else(|| JobError {
            class: ErrorClass::BadInput,
            message: "a shard without cells".to_owned(),
        })?;
        if chosen
            .iter()
            .any(|cell| cell.trajectory != first.trajectory)
        {
            return Err(JobError {
                class: ErrorClass::BadInput,
                message: "a shard's cells must share one trajectory".to_owned(),
            });
        }
        let trajectory = *plan.trajectory(first).map_err(bad_plan)?;
        let network = plan.network(&trajectory).map_err(bad_plan)?;
        let demand = Demand::of(&chosen);
        let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &plan.respacing.into())
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
        self.load(network, artifacts)?;

        let mut result = JobResult {
            entries: Vec::new(),
            evaluations: 0,
            padding: 0,
        };
        for index in batches {
            let index = index as usize;
            let slices = plan.batch(index).map_err(bad_plan)?;
            let batch = self
                .slices
                .read(plan, slices, demand.truth, self.device)
                .map_err(|error| JobError::new(class_of(&error), &error))?;
            let noise = NoiseSource::Counter {
                seed: trajectory.seed,
                slices: batch.identities.clone(),
            };
            let lesion = demand.lesion.then(|| self.lesion(&batch));
            let modalities: Vec<i64> = plan.data.scored.iter().map(|m| i64::from(*m)).collect();
            let pass = ForwardPass {
                schedule: &schedule,
                switches: plan.semantics.switches(),
                encoding: trajectory.encoding,
                steps: plan.steps as usize,
                guidance: &demand.guidance,
                modalities: &modalities,
                maps: &demand.maps,
                end_step_ratios: &demand.end_step_ratios,
                keep: &[],
                lesion: lesion.as_ref(),
            };
            let Some((_, network)) = self.model.as_mut() else {
                return Err(JobError {
                    class: ErrorClass::Fatal,
                    message: "the model is not loaded. This is a bug.".to_owned(),
                });
            };
            let done = pass.run(network, &batch.x0, &noise, &mut |_| {
                progress.tick();
                if progress.stop_asked() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            let done = match done {
                Ok(done) => done,
                Err(ForwardError::Stopped(_)) => return Ok(Outcome::Stopped),
                Err(error) => return Err(self.forward_error(plan, index, &error)),
            };
            let scoring = Scoring {
                switches: plan.semantics.switches(),
                component_area: plan.component_area,
                size: self.slices.size(),
                truth: &batch.truth,
                slices: batch.slices,
            };
            for (cell, number) in chosen.iter().zip(cells) {
                let record = scoring
                    .record(&done, cell)
                    .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
                let key = plan
                    .record_key(index, usize::from(*number))
                    .map_err(bad_plan)?;
                result.entries.push((key, put(artifacts, &record)?));
                progress.tick();
            }
            let each = done.evaluations / batch.identities.len() as u64;
            result.evaluations += each * batch.slices as u64;
            result.padding += each * (batch.identities.len() - batch.slices) as u64;
        }
        Ok(Outcome::Done(result))
    }

    fn load(&mut self, plan: &NetworkPlan, artifacts: &ArtifactStore) -> Result<(), JobError> {
        if self
            .model
            .as_ref()
            .is_some_and(|(weights, _)| *weights == plan.weights)
        {
            return Ok(());
        }
        let path = artifacts
            .verify(&plan.weights)
            .map_err(|error| JobError::new(ErrorClass::Transient, &error))?;
        let network = weights::open_unet(&path, &plan.config, self.device)
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
        self.model = Some((plan.weights, network));
        Ok(())
    }

    /// The lesion masks of a batch as f32 `[N, 1, H, W]`, padding without lesion.
    fn lesion(&self, batch: &Batch) -> Tensor {
        let pixels = self.slices.size() * self.slices.size();
        let mut values: Vec<f32> = batch
            .truth
            .iter()
            .flat_map(|slice| slice.mask.iter().map(|pixel| f32::from(*pixel)))
            .collect();
        values.resize(batch.identities.len() * pixels, 0.0);
        let side = i64::try_from(self.slices.size()).unwrap_or(i64::MAX);
        Tensor::from_slice(&values)
            .reshape([-1, 1, side, side])
            .to_device(self.device)
    }

    /// A numeric failure, with the slice named.
    fn forward_error(&self, plan: &ForwardPlan, batch: usize, error: &ForwardError) -> JobError {
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
}

fn class_of(error: &SliceError) -> ErrorClass {
    match error {
        SliceError::Store(_) => ErrorClass::Transient,
        _ => ErrorClass::BadInput,
    }
}
