//! A run of batches: what a shard of calibration or scoring asks for.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{ForwardPlan, MAX_SHARD_CELLS, PlanError};
use crate::wire::list;

/// Consecutive batches of a plan and, of each, the same cells.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchRun {
    pub first: u32,
    pub count: u32,
    /// Indices into the plan's cells, ascending; all of one trajectory.
    #[serde(deserialize_with = "list::<_, _, MAX_SHARD_CELLS>")]
    pub cells: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationCost {
    /// Of real slices.
    pub evaluations: u64,
    /// Of padding.
    pub padding: u64,
}

impl EvaluationCost {
    /// Everything the device computes; saturates where no shard can be.
    pub fn all(&self) -> u32 {
        u32::try_from(self.evaluations.saturating_add(self.padding)).unwrap_or(u32::MAX)
    }
}

impl BatchRun {
    pub fn batches(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Batch and cell of each of its records, in the order of a manifest: batch by batch, cell by cell.
    pub fn parts(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.batches().flat_map(|batch| {
            let cells = self.cells.iter();
            cells.map(move |cell| (batch as usize, usize::from(*cell)))
        })
    }

    /// The same cells of its first `count` batches, and of those that follow, if any do.
    pub fn split_at(self, count: u32) -> (Self, Option<Self>) {
        if count >= self.count {
            return (self, None);
        }
        let rest = Self {
            first: self.first + count,
            count: self.count - count,
            cells: self.cells.clone(),
        };
        (Self { count, ..self }, Some(rest))
    }

    /// What it takes: each batch once, whatever the number of cells, which share a trajectory.
    ///
    /// # Errors
    /// When the plan has no such batch or cell, or the cells are of several trajectories.
    pub fn evaluations(&self, plan: &ForwardPlan) -> Result<EvaluationCost, PlanError> {
        let each = plan.passes(&self.cells)?.total();
        let mut cost = EvaluationCost {
            evaluations: 0,
            padding: 0,
        };
        for batch in self.batches() {
            let slices = plan.batch(batch as usize)?.len() as u64;
            cost.evaluations += each * slices;
            cost.padding += each * u64::from(plan.batch_slices).saturating_sub(slices);
        }
        Ok(cost)
    }

    /// Ticks that a worker counts on a lease of it.
    pub fn ticks(&self, plan: &ForwardPlan) -> Result<u64, PlanError> {
        let each = plan.ticks(&self.cells)?;
        Ok(each.saturating_mul(self.count.into()))
    }
}

impl fmt::Display for BatchRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "batch {}", self.first)?,
            count => {
                let last = self.first.saturating_add(count.saturating_sub(1));
                write!(f, "batches {} to {last}", self.first)?;
            }
        }
        match self.cells.len() {
            1 => write!(f, ", 1 cell"),
            many => write!(f, ", {many} cells"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u32, count: u32) -> BatchRun {
        BatchRun {
            first,
            count,
            cells: vec![3, 5],
        }
    }

    #[test]
    fn parts_cover_every_record_once() {
        let whole = run(4, 5);
        let parts: Vec<_> = whole.parts().collect();
        assert_eq!(parts.len(), 10);
        assert_eq!(parts[..3], [(4, 3), (4, 5), (5, 3)]);
        let (a, b) = whole.split_at(2);
        assert_eq!(
            a.parts().chain(b.unwrap().parts()).collect::<Vec<_>>(),
            parts
        );
        assert_eq!(run(4, 5).split_at(9), (run(4, 5), None));
    }

    #[test]
    fn it_says_which_batches_it_is() {
        assert_eq!(run(4, 1).to_string(), "batch 4, 2 cells");
        assert_eq!(run(4, 3).to_string(), "batches 4 to 6, 2 cells");
    }
}
