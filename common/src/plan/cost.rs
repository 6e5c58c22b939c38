//! What a slice takes, in network evaluations: one slice through one network once.

use crate::baseline::Passes;
use crate::method::Encoding;
use crate::semantics::{DdimStepping, Semantics};

use super::cell::{Cell, Trajectory, distinct_settings};
use super::error::PlanError;
use super::forward::ForwardPlan;

/// Distinct network evaluations that `steps` forward steps of one slice take, whatever the number of
/// strengths and variants: the null evaluation serves Eq. 7, Eq. 10 and Eq. 4.
pub fn evaluations_per_slice(semantics: Semantics, encoding: Encoding, steps: u32) -> u64 {
    let steps = u64::from(steps);
    match (encoding, semantics.switches().ddim) {
        (Encoding::Ddim, DdimStepping::ReferenceShifted) => (3 * steps).saturating_sub(1),
        _ => 2 * steps,
    }
}

impl Trajectory {
    /// What a slice takes when these cells, all of this trajectory, are computed together; `steps` are those of
    /// AnoFPDM.
    pub fn passes<'a>(
        &self,
        semantics: Semantics,
        steps: u32,
        cells: impl IntoIterator<Item = &'a Cell>,
    ) -> Passes {
        match self {
            Self::Forward(walk) => Passes {
                network: evaluations_per_slice(semantics, walk.encoding, steps),
                classifier: 0,
            },
            Self::Restoration(walk) => {
                let form = semantics.switches().baselines;
                walk.baseline.passes(form, &distinct_settings(cells))
            }
        }
    }
}

impl ForwardPlan {
    /// What a slice takes in a shard of these cells, whatever their number: they share a trajectory.
    ///
    /// # Errors
    /// When there is no cell, an index is out of range, or the cells are of several trajectories.
    pub fn passes(&self, cells: &[u16]) -> Result<Passes, PlanError> {
        let (trajectory, cells) = self.shared(cells)?;
        Ok(trajectory.passes(self.semantics, self.steps, cells))
    }

    /// Ticks that a worker counts on a lease for each batch of a shard of these cells: the steps of their trajectory,
    /// and a record a cell.
    pub fn ticks(&self, cells: &[u16]) -> Result<u64, PlanError> {
        let (trajectory, cells) = self.shared(cells)?;
        let records = cells.len() as u64;
        let steps = match trajectory {
            Trajectory::Forward(_) => u64::from(self.steps),
            Trajectory::Restoration(walk) => {
                let form = self.semantics.switches().baselines;
                walk.baseline.steps(form, &distinct_settings(cells))
            }
        };
        Ok(steps + records)
    }

    /// The trajectory of these cells, and the cells.
    fn shared(&self, cells: &[u16]) -> Result<(&Trajectory, Vec<&Cell>), PlanError> {
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
        Ok((self.trajectory(first)?, cells))
    }
}
