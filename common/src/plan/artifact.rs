//! A plan as an artifact of the store.

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::forward::ForwardPlan;
use super::train::TrainPlan;
use super::trial::TrialPlan;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Plan {
    Train(TrainPlan),
    Forward(ForwardPlan),
    /// Which number format calibration and scoring compute in.
    Trial(TrialPlan),
}

/// Longest plan accepted, bytes.
pub const MAX_PLAN_BYTES: u64 = 256 << 20;

/// The artifact: a plan and whose it is. A worker finds the store of a run by the digest of its plan, so two runs that
/// plan the same must not have the same artifact. No record key contains it.
#[derive(Serialize, Deserialize)]
struct PlanArtifact<P> {
    run: String,
    plan: P,
}

impl Plan {
    /// The bytes of the artifact of `run`. JSON: a person can read what a run was asked to do.
    ///
    /// # Errors
    /// As [`Self::check`]; [`PlanError::Json`] would be a bug.
    pub fn to_json(&self, run: &str) -> Result<Vec<u8>, PlanError> {
        self.check()?;
        let artifact = PlanArtifact {
            run: run.to_owned(),
            plan: self,
        };
        serde_json::to_vec(&artifact).map_err(|error| PlanError::Json(error.to_string()))
    }

    /// Reads the artifact back.
    ///
    /// # Errors
    /// [`PlanError::Json`] when the bytes are no plan of this version; as [`Self::check`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PlanError> {
        let PlanArtifact::<Self> { plan, .. } =
            serde_json::from_slice(bytes).map_err(|error| PlanError::Json(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }
}
