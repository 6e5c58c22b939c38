//! What is wrong with the words of both sides, if anything: whatever comes out of a message or a file has
//! passed these checks before it is used.

use crate::baseline::CG_CDM_DIFFUSION_STEPS;
use crate::ids::Digest;
use crate::spec::{
    DIFFUSION_STEPS, FigureSpec, MAX_BATCH_SLICES, MAX_END_STEP_RATIOS, MAX_FIXED_THRESHOLDS,
    MAX_SCORED, Precision,
};
use crate::wire::{HEADER_LEN, Kind, Message};

use super::artifact::Plan;
use super::batch_run::BatchRun;
use super::cell::{Cell, CellOutput, MAX_THRESHOLDS, Postprocessing, Trajectory};
use super::error::PlanError;
use super::forward::{DataPlan, ForwardPlan};
use super::job::{
    Completion, Job, MAX_SHARD_CELLS, MAX_SHARD_RECORDS, MAX_WORLD, Manifest, Stage, Task,
    WorkerInfo,
};
use super::profile::NumericProfile;
use super::train::TrainPlan;

/// Longest name of a worker, bytes.
const WORKER_NAME_LIMIT: usize = 100;

/// Longest name of a host or a device, bytes.
const PLACE_LIMIT: usize = 128;

/// Longest version or capability, bytes.
const VERSION_LIMIT: usize = 64;

/// More intra-op threads than any machine has.
const MOST_THREADS: u32 = 65_536;

/// More network evaluations than a shard can take; sums of them stay far below 2^64.
pub const MOST_EVALUATIONS: u64 = 1 << 48;

/// Longer than any shard or start of a coordinator takes: a year, in milliseconds.
pub const LONGEST_MILLIS: u64 = 366 * 24 * 60 * 60 * 1000;

/// Most energy of a shard, millijoules: a year at a megawatt.
pub const MOST_MILLIJOULES: u64 = LONGEST_MILLIS * 1_000_000;

/// Whether a worker's name may hold this character: safe in a log line, a key and a file name.
pub const fn is_worker_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

pub fn check_worker_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > WORKER_NAME_LIMIT {
        return Err(format!(
            "a worker's name has {} bytes: 1 to {WORKER_NAME_LIMIT} are allowed",
            name.len()
        ));
    }
    if !name.chars().all(is_worker_name_character) {
        return Err(format!(
            "a worker is named {name:?}: letters, digits, '-', '_' and '.' only"
        ));
    }
    Ok(())
}

/// Checks a text for people: not too long, and on one line.
///
/// # Errors
/// What is wrong with it; `what` says which text.
pub fn check_text(what: &str, text: &str, limit: usize) -> Result<(), String> {
    if text.len() > limit {
        return Err(format!("{what} has {} bytes, over {limit}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} holds a control character: {text:?}"));
    }
    Ok(())
}

impl NumericProfile {
    pub fn check(&self) -> Result<(), String> {
        check_text("device", &self.device, PLACE_LIMIT)?;
        check_text("libtorch", &self.libtorch, VERSION_LIMIT)?;
        check_text("cpu_capability", &self.cpu_capability, VERSION_LIMIT)?;
        if self.threads == 0 || self.threads > MOST_THREADS {
            return Err(format!("{} threads", self.threads));
        }
        Ok(())
    }
}

impl WorkerInfo {
    pub fn check(&self) -> Result<(), String> {
        check_worker_name(&self.worker)?;
        check_text("host", &self.host, PLACE_LIMIT)?;
        check_text("version", &self.version, VERSION_LIMIT)?;
        if let Some(metrics) = &self.metrics {
            check_text("metrics", metrics, PLACE_LIMIT)?;
        }
        self.profile.check()
    }
}

impl Job {
    /// Checks that the task is one a shard can be.
    pub fn check(&self) -> Result<(), String> {
        match (&self.task, self.stage) {
            (Task::Train(gang), Stage::Train) => {
                if !(1..=MAX_WORLD).contains(&gang.world) || gang.rank >= gang.world {
                    return Err(format!("rank {} of {}", gang.rank, gang.world));
                }
                Ok(())
            }
            (
                Task::Batches(BatchRun {
                    first,
                    count,
                    cells,
                }),
                Stage::Calibrate | Stage::Score,
            ) => {
                if *count == 0 || first.checked_add(*count).is_none() {
                    return Err(format!("{count} batches from batch {first} on"));
                }
                if !(1..=MAX_SHARD_CELLS).contains(&cells.len())
                    || !cells.is_sorted_by(|a, b| a < b)
                {
                    return Err(format!(
                        "{} cells: 1 to {MAX_SHARD_CELLS} in ascending order are allowed",
                        cells.len()
                    ));
                }
                if *count as usize > MAX_SHARD_RECORDS / cells.len() {
                    return Err(format!(
                        "{count} batches of {} cells are over {MAX_SHARD_RECORDS} records",
                        cells.len()
                    ));
                }
                Ok(())
            }
            (Task::Trial, Stage::Calibrate) => Ok(()),
            _ => Err(format!(
                "a task of another stage than {}",
                self.stage.name()
            )),
        }
    }
}

impl Completion {
    /// Checks that the numbers are those of some shard.
    pub fn check(&self) -> Result<(), String> {
        if self.evaluations > MOST_EVALUATIONS || self.padding > MOST_EVALUATIONS {
            return Err(format!(
                "{} network evaluations and {} of padding",
                self.evaluations, self.padding
            ));
        }
        if self.device_millis > LONGEST_MILLIS {
            return Err(format!("{} ms of device time", self.device_millis));
        }
        if self
            .millijoules
            .is_some_and(|drawn| drawn > MOST_MILLIJOULES)
        {
            return Err(format!("{:?} mJ", self.millijoules));
        }
        Ok(())
    }
}

impl Manifest {
    /// Bytes of the envelope of a manifest of so many records: each is two digests, after a length.
    pub const fn bytes(entries: usize) -> u64 {
        (HEADER_LEN + size_of::<u64>() + entries * 2 * size_of::<Digest>()) as u64
    }
}

impl Message for Manifest {
    const KIND: Kind = Kind::Manifest;

    fn check(&self) -> Result<(), String> {
        if self.entries.is_empty() {
            return Err("it names no record".to_owned());
        }
        Ok(())
    }
}

impl Plan {
    /// Checks that every index points at something and every number is one a plan can have, so that whoever
    /// works on it meets no surprise.
    pub fn check(&self) -> Result<(), PlanError> {
        match self {
            Self::Train(plan) => plan.check(),
            Self::Forward(plan) => plan.check(),
            Self::Trial(plan) => plan.check(),
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), PlanError> {
    if holds {
        Ok(())
    } else {
        Err(PlanError::Impossible(what()))
    }
}

impl DataPlan {
    fn check(&self) -> Result<(), PlanError> {
        let scored = &self.scored;
        ensure((1..=MAX_SCORED).contains(&scored.len()), || {
            format!("{} scored channels", scored.len())
        })?;
        let inside = |channel: &u32| (*channel as usize) < MAX_SCORED;
        ensure(scored.iter().all(inside), || {
            format!("scored channels {scored:?}")
        })
    }
}

impl TrainPlan {
    fn check(&self) -> Result<(), PlanError> {
        self.data.check()?;
        self.config
            .validate()
            .map_err(|error| PlanError::Impossible(error.to_string()))?;
        self.network
            .check(&self.config)
            .map_err(|error| PlanError::Impossible(error.to_string()))
    }
}

impl ForwardPlan {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        ensure(self.precision != Precision::Auto, || {
            "a plan that leaves the precision open".to_owned()
        })?;
        ensure(self.stage != Stage::Train, || {
            "batches of the training stage".to_owned()
        })?;
        ensure((1..=self.respacing.kept()).contains(&self.steps), || {
            format!("{} of {} steps", self.steps, self.respacing.kept())
        })?;
        self.data.check()?;
        self.mask_rule
            .check()
            .map_err(|error| PlanError::Impossible(error.to_string()))?;
        for network in &self.networks {
            network
                .config
                .validate()
                .map_err(|error| PlanError::Impossible(error.to_string()))?;
        }
        for trajectory in &self.trajectories {
            self.check_trajectory(trajectory)?;
        }
        for cell in &self.cells {
            self.check_cell(cell)?;
        }
        let full = self.batch_slices;
        ensure((1..=MAX_BATCH_SLICES).contains(&full), || {
            format!("batches of {full} slices")
        })?;
        for batch in &self.batches {
            ensure((1..=full as usize).contains(&batch.len()), || {
                format!("{} slices in a batch of {full}", batch.len())
            })?;
            for slice in batch {
                self.subject(*slice)?;
            }
        }
        self.exhibits
            .check(self.steps)
            .map_err(PlanError::Impossible)
    }

    fn check_trajectory(&self, trajectory: &Trajectory) -> Result<(), PlanError> {
        let walk = match trajectory {
            Trajectory::Forward(walk) => return self.network(walk.network).map(|_| ()),
            Trajectory::Restoration(walk) => walk,
        };
        ensure(
            [DIFFUSION_STEPS, CG_CDM_DIFFUSION_STEPS].contains(&walk.diffusion_steps),
            || format!("a schedule of {} steps", walk.diffusion_steps),
        )?;
        let needed = walk.baseline.networks().len();
        ensure(walk.networks.len() == needed, || {
            format!(
                "{} networks for {}, which needs {needed}",
                walk.networks.len(),
                walk.baseline
            )
        })?;
        for network in &walk.networks {
            self.network(*network)?;
        }
        let draws = walk
            .baseline
            .draws_noise(self.semantics.switches().baselines);
        ensure(walk.seed.is_some() == draws, || {
            format!("noise seed {:?} for {}", walk.seed, walk.baseline)
        })
    }

    fn check_cell(&self, cell: &Cell) -> Result<(), PlanError> {
        ensure(cell.guidance.is_finite(), || {
            format!("guidance strength {}", cell.guidance)
        })?;
        let walk = match self.trajectory(cell)? {
            Trajectory::Forward(_) => None,
            Trajectory::Restoration(walk) => Some(walk),
        };
        ensure(walk.is_some() == cell.setting().is_some(), || {
            "a cell of another kind than its trajectory".to_owned()
        })?;
        // What AnoFPDM is calibrated with was never compared with a mask; only baselines are tuned on pixel labels.
        let compared = !matches!(
            cell.output,
            CellOutput::Traces | CellOutput::Overlaps { .. }
        );
        ensure(self.stage == Stage::Score || !compared, || {
            "a mask of a validation slice".to_owned()
        })?;
        if let (Some(walk), Some(setting)) = (walk, cell.setting()) {
            let kept = self.respacing.kept_of(walk.diffusion_steps);
            ensure((1..=kept).contains(&setting.noise_scale), || {
                format!("a noise scale of {} steps", setting.noise_scale)
            })?;
        }
        match &cell.output {
            CellOutput::Traces => Ok(()),
            CellOutput::Mask {
                max_divergence,
                figures,
                ..
            } => self.check_mask(max_divergence, figures),
            CellOutput::Candidate { max_divergence } => self.check_maxima(max_divergence),
            CellOutput::Exhibit { .. } => Ok(()),
            CellOutput::Overlaps { thresholds, .. } => ensure(
                (1..=MAX_THRESHOLDS).contains(&thresholds.len())
                    && thresholds.iter().all(|threshold| threshold.is_finite())
                    && thresholds.is_sorted_by(|a, b| a < b),
                || format!("{} thresholds, or some out of order", thresholds.len()),
            ),
            CellOutput::Restored { postprocessing, .. }
            | CellOutput::RestoredExhibit { postprocessing, .. } => match postprocessing {
                Postprocessing::Common { threshold } => ensure(threshold.is_finite(), || {
                    format!("a threshold of {threshold}")
                }),
                Postprocessing::Native => ensure(
                    walk.is_some_and(|walk| walk.baseline.native_rule().is_some()),
                    || "a native post-processing that nobody published".to_owned(),
                ),
            },
        }
    }

    fn check_maxima(&self, max_divergence: &[f32]) -> Result<(), PlanError> {
        let channels = self.data.scored.len();
        ensure(
            max_divergence.len() == channels && max_divergence.iter().all(|max| max.is_finite()),
            || format!("largest divergences {max_divergence:?} of {channels} scored channels"),
        )
    }

    fn check_mask(&self, max_divergence: &[f32], figures: &FigureSpec) -> Result<(), PlanError> {
        self.check_maxima(max_divergence)?;
        let (ratios, thresholds) = (&figures.end_step_ratios, &figures.fixed_thresholds);
        ensure(
            ratios.len() <= MAX_END_STEP_RATIOS && thresholds.len() <= MAX_FIXED_THRESHOLDS,
            || {
                format!(
                    "{} end-step ratios and {} fixed thresholds",
                    ratios.len(),
                    thresholds.len()
                )
            },
        )
    }
}

#[cfg(test)]
mod tests;
