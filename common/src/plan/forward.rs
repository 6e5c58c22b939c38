//! The plan of calibration and scoring.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Trajectory};
use super::error::{PlanError, out_of_range};
use super::exhibits::ExhibitPlan;
use super::job::Stage;
use super::profile::NumericProfile;
use crate::anofpdm::MaskRule;
use crate::ids::Digest;
use crate::network::NetworkConfig;
use crate::semantics::Semantics;
use crate::spec::{Precision, Respacing};
use crate::store::scaling::Scaling;

/// One slice of the store: a subject of the plan's list and the position of the slice in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceRef {
    /// Index into the plan's subjects.
    pub subject: u32,
    /// Position in the subject's arrays.
    pub position: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub name: String,
    pub config: NetworkConfig,
    /// Digest of the weights file in the artifact store.
    pub weights: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPlan {
    pub digest: Digest,
    /// Scaling to [-1, 1].
    pub scaling: Scaling,
    /// Channels whose maps are averaged.
    pub scored: Vec<u32>,
    pub subjects: Vec<String>,
}

/// Everything a worker needs for the shards of calibration or scoring, stored once as an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardPlan {
    pub stage: Stage,
    /// Which reading of the method.
    pub semantics: Semantics,
    /// Forward steps, in kept indices.
    pub steps: u32,
    pub respacing: Respacing,
    /// Components up to this many pixels are dropped.
    pub component_area: u32,
    #[serde(default, skip_serializing_if = "MaskRule::is_published")]
    pub mask_rule: MaskRule,
    /// Numeric profile every worker must have.
    pub profile: NumericProfile,
    /// What U-Nets are computed in; never `auto`.
    pub precision: Precision,
    pub data: DataPlan,
    pub networks: Vec<NetworkPlan>,
    pub trajectories: Vec<Trajectory>,
    pub cells: Vec<Cell>,
    /// Slices of a full batch; the last one is padded to it.
    pub batch_slices: u32,
    pub batches: Vec<Vec<SliceRef>>,
    /// What is kept to be looked at.
    #[serde(default, skip_serializing_if = "ExhibitPlan::is_empty")]
    pub exhibits: ExhibitPlan,
}

impl ForwardPlan {
    /// Batch number `index`.
    pub fn batch(&self, index: usize) -> Result<&[SliceRef], PlanError> {
        self.batches
            .get(index)
            .map(Vec::as_slice)
            .ok_or_else(|| out_of_range("batch", index))
    }

    /// Cell number `index`.
    pub fn cell(&self, index: usize) -> Result<&Cell, PlanError> {
        self.cells
            .get(index)
            .ok_or_else(|| out_of_range("cell", index))
    }

    pub fn trajectory(&self, cell: &Cell) -> Result<&Trajectory, PlanError> {
        let index = usize::from(cell.trajectory);
        self.trajectories
            .get(index)
            .ok_or_else(|| out_of_range("trajectory", index))
    }

    /// Network number `index`.
    pub fn network(&self, index: u16) -> Result<&NetworkPlan, PlanError> {
        let index = usize::from(index);
        self.networks
            .get(index)
            .ok_or_else(|| out_of_range("network", index))
    }

    pub fn subject(&self, slice: SliceRef) -> Result<&str, PlanError> {
        let index = slice.subject as usize;
        self.data
            .subjects
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| out_of_range("subject", index))
    }
}
