//! Number formats compared: the job behind `precision = "auto"`.

use anofpdm_common::method::MapKind;
use anofpdm_common::plan::{
    Agreement, Candidate, Finding, ForwardWalk, Trajectory, TrialPlan, TrialReport,
};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::{DIFFUSION_STEPS, Precision};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;

use crate::anofpdm::agreement::{FormatResults, MaskSettings, PixelTruth};
use crate::anofpdm::{ForwardPass, ForwardResult};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;

use super::batch_reader::{BatchReader, SliceBatch};
use super::job_error::JobError;
use super::lease_renewal::JobProgress;
use super::network_cache::NetworkCache;
use super::shard::{bad_plan, forward_error};
use super::{JobOutcome, JobResult};

/// A trial and what it is done with.
pub(super) struct Trial<'a> {
    pub(super) plan: &'a TrialPlan,
    pub(super) slices: &'a SliceStore,
    pub(super) artifacts: &'a ArtifactStore,
    pub(super) progress: &'a JobProgress,
}

/// One walk of AnoFPDM over the slices of a trial.
struct TrialRun<'a> {
    trial: &'a Trial<'a>,
    walk: &'a ForwardWalk,
    schedule: Schedule,
    guidance: Vec<f64>,
    modalities: Vec<i64>,
    batches: Vec<SliceBatch>,
}

/// Why a pass has no result.
enum PassError {
    Failed(JobError),
    /// A number of the format is not finite; where.
    NotFinite(JobError),
    Stopped,
}

impl From<JobError> for PassError {
    fn from(error: JobError) -> Self {
        Self::Failed(error)
    }
}

/// The finding that a format cannot hold these numbers; everything else goes on as it is.
fn not_finite(error: PassError) -> Result<Finding, PassError> {
    match error {
        PassError::NotFinite(error) => Ok(Finding::NotFinite {
            what: error.message,
        }),
        other => Err(other),
    }
}

impl Trial<'_> {
    /// Compares every format with float32.
    pub(super) fn run(&self, cache: &mut NetworkCache) -> Result<JobOutcome, JobError> {
        match self.report(cache) {
            Ok(report) => self.done(&report),
            Err(PassError::Stopped) => Ok(JobOutcome::Stopped),
            Err(PassError::Failed(error) | PassError::NotFinite(error)) => Err(error),
        }
    }

    fn report(&self, cache: &mut NetworkCache) -> Result<TrialReport, PassError> {
        let run = self.prepare()?;
        let exact = run.outcome(cache, Precision::Fp32)?;
        let mut report = TrialReport {
            slices: run.batches.iter().map(|batch| batch.slices as u64).sum(),
            candidates: Vec::new(),
        };
        for precision in self.plan.candidates.iter().copied() {
            let finding = match run.outcome(cache, precision) {
                Ok(ours) => Finding::Compared(run.compare(&ours, &exact)?),
                // In float32 a number that is not finite is an error, here it is a finding.
                Err(error) => not_finite(error)?,
            };
            report.candidates.push(Candidate { precision, finding });
        }
        Ok(report)
    }

    /// Reads the slices of the plan.
    fn prepare(&self) -> Result<TrialRun<'_>, JobError> {
        let plan = &self.plan.forward;
        let bad =
            |error: &(dyn std::error::Error + 'static)| JobError::new(ErrorClass::BadInput, error);
        let Some(Trajectory::Forward(walk)) = plan.trajectories.first() else {
            let message = "a trial of another walk than AnoFPDM's";
            return Err(JobError::text(ErrorClass::BadInput, message));
        };
        let reader = BatchReader::new(self.slices);
        let batches = plan
            .batches
            .iter()
            .map(|slices| reader.read(plan, slices, self.plan.with_truth))
            .collect::<Result<_, _>>()
            .map_err(|error| bad(&error))?;
        let mut guidance: Vec<f64> = Vec::new();
        for cell in &plan.cells {
            if !guidance.contains(&cell.guidance) {
                guidance.push(cell.guidance);
            }
        }
        Ok(TrialRun {
            trial: self,
            walk,
            schedule: Schedule::linear(DIFFUSION_STEPS as usize, &plan.respacing.into())
                .map_err(|error| bad(&error))?,
            guidance,
            modalities: plan.data.scored.iter().map(|m| i64::from(*m)).collect(),
            batches,
        })
    }

    fn done(&self, report: &TrialReport) -> Result<JobOutcome, JobError> {
        let bytes = serde_json::to_vec_pretty(report)
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
        let key = self.plan.key().map_err(bad_plan)?;
        Ok(JobOutcome::Done(JobResult {
            entries: vec![(key, self.artifacts.put(&bytes)?)],
            // What is compared is no part of what a run computes.
            evaluations: 0,
            padding: 0,
        }))
    }
}

impl TrialRun<'_> {
    /// What every slice comes to in a format.
    fn outcome(
        &self,
        cache: &mut NetworkCache,
        precision: Precision,
    ) -> Result<FormatResults, PassError> {
        let mut outcome = FormatResults::default();
        for (index, batch) in self.batches.iter().enumerate() {
            let done = self.pass(cache, precision, index)?;
            outcome.add(&done, i64::try_from(batch.slices).unwrap_or(i64::MAX));
        }
        Ok(outcome)
    }

    fn pass(
        &self,
        cache: &mut NetworkCache,
        precision: Precision,
        index: usize,
    ) -> Result<ForwardResult, PassError> {
        let Trial {
            plan, artifacts, ..
        } = self.trial;
        let plan = &plan.forward;
        let progress = self.trial.progress;
        let network = plan.network(self.walk.network).map_err(bad_plan)?;
        let device = cache.device();
        let networks = cache.load(&[network], precision, artifacts)?;
        let batch = self.batches.get(index).ok_or_else(|| {
            JobError::text(
                ErrorClass::BadInput,
                format!("a trial without batch {index}"),
            )
        })?;
        let pass = ForwardPass {
            schedule: &self.schedule,
            switches: plan.semantics.switches(),
            encoding: self.walk.encoding,
            steps: plan.steps as usize,
            guidance: &self.guidance,
            modalities: &self.modalities,
            maps: &[MapKind::Aam],
            end_step_ratios: &[],
            keep: &[],
            lesion: None,
        };
        let noise = NoiseSource::Counter {
            seed: self.walk.seed,
            slices: batch.identities.clone(),
        };
        let done = pass.run(networks.noise, &batch.x0(device), &noise, &mut |_| {
            progress.step()
        });
        match done {
            Ok(done) => Ok(done),
            Err(MethodError::Stopped(_)) => Err(PassError::Stopped),
            Err(error @ MethodError::NotFinite(_)) => {
                Err(PassError::NotFinite(forward_error(plan, index, &error)))
            }
            Err(error) => Err(forward_error(plan, index, &error).into()),
        }
    }

    fn compare(&self, ours: &FormatResults, exact: &FormatResults) -> Result<Agreement, JobError> {
        let plan = &self.trial.plan.forward;
        let truth: Vec<PixelTruth<'_>> = self
            .batches
            .iter()
            .flat_map(|batch| &batch.truth)
            .map(|slice| PixelTruth {
                mask: &slice.mask,
                foreground: &slice.foreground,
            })
            .collect();
        let rules = MaskSettings {
            level_index: plan.semantics.switches().level_index,
            component_area: plan.component_area,
            mask_rule: plan.mask_rule,
            truth: &truth,
        };
        ours.compare(exact, &rules)
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))
    }
}

#[cfg(test)]
mod tests;
