//! The plans of calibration and scoring.

use anofpdm_common::plan::{
    DataPlan, ExhibitPlan, ForwardPlan, NetworkPlan, NumericProfile, SliceRef, Stage,
};
use anofpdm_common::spec::{Precision, RunSpec};

use super::cells::Columns;
use super::selection::batches;

/// Everything but slices and columns that a forward plan is made of.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    pub spec: &'a RunSpec,
    pub data: &'a DataPlan,
    pub networks: &'a [NetworkPlan],
    pub profile: &'a NumericProfile,
    pub size: usize,
    /// What U-Nets are computed in.
    pub precision: Precision,
}

/// The plan of a stage: `columns` on `slices`.
pub fn forward_plan(
    setting: &Setting<'_>,
    stage: Stage,
    columns: &Columns,
    slices: &[SliceRef],
) -> ForwardPlan {
    let spec = setting.spec;
    ForwardPlan {
        stage,
        semantics: spec.score.semantics,
        steps: spec.score.steps,
        respacing: spec.score.respacing,
        component_area: spec.score.component_area_at(setting.size),
        mask_rule: spec.score.mask_rule(),
        profile: setting.profile.clone(),
        precision: setting.precision,
        data: setting.data.clone(),
        networks: setting.networks.to_vec(),
        trajectories: columns.trajectories.clone(),
        cells: columns.cells.clone(),
        batch_slices: spec.compute.batch_slices,
        exhibits: ExhibitPlan::default(),
        batches: batches(slices, spec.compute.batch_slices),
    }
}
