//! The trial of number formats: what `precision = "auto"` is decided by on a GPU.
//!
//! A worker pushes some validation slices through the network in float32 and in every candidate, and says how far each
//! strays. How long anything takes is no part of it: the same plan on the same machine has the same report. The
//! coordinator compares them; nothing of a trial enters a record.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::spec::Precision;

use super::cell::CellOutput;
use super::check::check_text;
use super::error::PlanError;
use super::forward::ForwardPlan;
use super::key::key_of;
use super::train::WEIGHTS_SCHEMA;

/// Longest description of a number that is not finite, bytes.
const WHAT_LIMIT: usize = 1_024;

/// Longest report accepted, bytes.
pub const MAX_TRIAL_REPORT_BYTES: u64 = 64 << 10;

/// Everything a worker needs to compare number formats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialPlan {
    /// What is computed in each format: one walk of AnoFPDM, its cells traces of all strengths, in float32.
    pub forward: ForwardPlan,
    /// Formats to compare with float32, the one that is preferred first.
    pub candidates: Vec<Precision>,
    /// Whether the slices have pixel labels, to say what a format does to DICE and AUPRC.
    pub with_truth: bool,
}

/// How far the results of a format are from those of float32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// End steps t_e: slices x modalities x strengths.
    pub end_steps: u64,
    /// Those that are equal.
    pub end_steps_equal: u64,
    /// Largest difference of M_t, as a share of the slice's largest M_t in float32.
    pub divergence_error: f64,
    /// Largest difference of the cosine that the healthy / unhealthy decision reads.
    pub cosine_error: f64,
    /// Mean over slices and strengths of the IoU with float32's mask; two empty masks have 1.
    pub mask_iou: f64,
    /// Largest change of the mean DICE of a strength; `None` without pixel labels.
    pub dice_change: Option<f64>,
    /// Largest change of the pooled AUPRC of a strength; `None` without pixel labels or without a lesion.
    pub auprc_change: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub precision: Precision,
    /// How far it strays, or why nobody can say.
    pub finding: Finding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was compared: how far it strays.
    Compared(Agreement),
    NotFinite {
        what: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    pub slices: u64,
    /// In the order of the plan.
    pub candidates: Vec<Candidate>,
}

#[derive(Serialize)]
struct TrialKey<'a> {
    schema: u32,
    trial: &'a TrialPlan,
}

impl TrialPlan {
    /// Names the report in the manifest of its delivery.
    pub fn key(&self) -> Result<Digest, PlanError> {
        key_of(&TrialKey {
            schema: WEIGHTS_SCHEMA,
            trial: self,
        })
    }

    pub(super) fn check(&self) -> Result<(), PlanError> {
        let impossible = |what: String| Err(PlanError::Impossible(what));
        self.forward.check()?;
        if self.forward.precision != Precision::Fp32 {
            return impossible("a trial is measured against fp32".to_owned());
        }
        if self.forward.trajectories.len() != 1 || self.forward.cells.is_empty() {
            return impossible("a trial is of one walk".to_owned());
        }
        if self
            .forward
            .cells
            .iter()
            .any(|cell| cell.output != CellOutput::Traces)
        {
            return impossible("a trial keeps nothing but traces".to_owned());
        }
        if self.forward.batches.is_empty() {
            return impossible("a trial without slices".to_owned());
        }
        let candidate = |precision: &Precision| {
            matches!(
                precision,
                Precision::Tf32 | Precision::Fp16 | Precision::Bf16
            )
        };
        if !(1..=3).contains(&self.candidates.len()) || !self.candidates.iter().all(candidate) {
            return impossible(format!("candidates {:?}", self.candidates));
        }
        Ok(())
    }
}

impl TrialReport {
    /// Checks that a report answers `plan` and that its numbers are such as a comparison can have.
    pub fn check(&self, plan: &TrialPlan) -> Result<(), String> {
        let slices: usize = plan.forward.batches.iter().map(Vec::len).sum();
        if self.slices != slices as u64 {
            return Err(format!("{} slices, not {slices}", self.slices));
        }
        let formats = self.candidates.iter().map(|candidate| candidate.precision);
        if !formats.eq(plan.candidates.iter().copied()) {
            return Err("other candidates than were asked for".to_owned());
        }
        let end_steps = (slices * plan.forward.data.scored.len() * plan.forward.cells.len()) as u64;
        for candidate in &self.candidates {
            match &candidate.finding {
                Finding::Compared(agreement) => agreement.check(end_steps)?,
                Finding::NotFinite { what } => check_text("a finding", what, WHAT_LIMIT)?,
            }
        }
        Ok(())
    }
}

impl Agreement {
    fn check(&self, end_steps: u64) -> Result<(), String> {
        if self.end_steps != end_steps || self.end_steps_equal > end_steps {
            return Err(format!(
                "{} of {} end steps, there are {end_steps}",
                self.end_steps_equal, self.end_steps
            ));
        }
        let shares = [Some(self.mask_iou), self.dice_change, self.auprc_change];
        let mut shares = shares.iter().flatten();
        let errors = [self.divergence_error, self.cosine_error];
        if !shares.all(|share| (0.0..=1.0).contains(share))
            || errors.iter().any(|error| error.is_nan() || *error < 0.0)
        {
            return Err(format!("{self:?}"));
        }
        Ok(())
    }
}
