//! What a slice takes, in network evaluations: one slice through one network once.

use crate::method::Encoding;
use crate::semantics::{DdimStepping, Semantics};

use super::{ForwardPlan, PlanError, Trajectory};

/// Distinct network evaluations that `steps` forward steps of one slice take, whatever the number of
/// strengths and variants: the null evaluation serves Eq. 7, Eq. 10 and Eq. 4.
pub fn evaluations_per_slice(semantics: Semantics, encoding: Encoding, steps: u32) -> u64 {
    let steps = u64::from(steps);
    match (encoding, semantics.switches().ddim) {
        (Encoding::Ddim, DdimStepping::ReferenceShifted) => (3 * steps).saturating_sub(1),
        _ => 2 * steps,
    }
}

impl ForwardPlan {
    /// Network evaluations of one slice in a shard of these cells, whatever their number: they share a trajectory.
    /// Passes of a classifier count too, each with its gradient as one.
    ///
    /// # Errors
    /// When there is no cell, an index is out of range, or the cells are of several trajectories.
    pub fn evaluations(&self, cells: &[u16]) -> Result<u64, PlanError> {
        let cells = cells
            .iter()
            .map(|cell| self.cell(usize::from(*cell)))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(first) = cells.first() else {
            return Err(PlanError::Impossible("a shard without cells".to_owned()));
        };
        if cells.iter().any(|cell| cell.trajectory != first.trajectory) {
            return Err(PlanError::Impossible(
                "a shard of two trajectories".to_owned(),
            ));
        }
        Ok(match self.trajectory(first)? {
            Trajectory::Forward(walk) => {
                evaluations_per_slice(self.semantics, walk.encoding, self.steps)
            }
            Trajectory::Restoration(walk) => {
                let settings = super::cell::distinct_settings(cells);
                let form = self.semantics.switches().baselines;
                walk.baseline.passes(form, &settings).total()
            }
        })
    }
}
