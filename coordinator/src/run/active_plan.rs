//! The plan that the shards under way belong to.

use std::collections::HashMap;
use std::sync::Arc;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, ForwardPlan, Job, PlanError, Task, TrainPlan, TrialPlan};

/// The plan at work. Results of any other are refused.
#[derive(Debug)]
pub(super) enum ActivePlan {
    Idle,
    /// Training of one network, under the digest of its plan.
    Train(Digest, Box<TrainPlan>),
    Trial(Digest, Box<TrialPlan>),
    Forward(Arc<ActiveForward>),
}

impl ActivePlan {
    /// True while a network is trained.
    pub(super) const fn is_training(&self) -> bool {
        matches!(self, Self::Train(..))
    }

    /// Calibration or scoring, where that is at work.
    pub(super) fn forward(&self) -> Option<&ActiveForward> {
        match self {
            Self::Forward(active) => Some(active),
            Self::Idle | Self::Train(..) | Self::Trial(..) => None,
        }
    }
}

/// Calibration or scoring at work: its plan, and where in the plan each record key lies.
#[derive(Debug)]
pub(super) struct ActiveForward {
    /// In the artifact store.
    pub(super) digest: Digest,
    pub(super) plan: ForwardPlan,
    /// Pixels along a side of a slice of the store.
    pub(super) slice_size: usize,
    /// `[batch][cell]`.
    keys: Vec<Vec<Digest>>,
    /// Batch and cell of each key.
    places: HashMap<Digest, (u32, u16)>,
}

impl ActiveForward {
    pub(super) fn new(
        digest: Digest,
        plan: ForwardPlan,
        slice_size: usize,
    ) -> Result<Self, PlanError> {
        let keys = plan.record_keys()?;
        let mut places = HashMap::new();
        for (batch, cells) in (0..).zip(&keys) {
            places.extend((0..).zip(cells).map(|(cell, key)| (*key, (batch, cell))));
        }
        Ok(Self {
            digest,
            plan,
            slice_size,
            keys,
            places,
        })
    }

    /// Every record key, batch by batch and cell by cell.
    pub(super) fn keys(&self) -> impl Iterator<Item = Digest> + '_ {
        self.keys.iter().flatten().copied()
    }

    pub(super) fn key(&self, batch: usize, cell: usize) -> Option<Digest> {
        self.keys.get(batch)?.get(cell).copied()
    }

    /// Batch and cell of a key; none for one of another plan.
    pub(super) fn place_of(&self, key: Digest) -> Option<(u32, u16)> {
        self.places.get(&key).copied()
    }

    pub(super) fn records(&self) -> u64 {
        self.keys.iter().map(Vec::len).sum::<usize>() as u64
    }

    pub(super) fn slices(&self) -> u64 {
        self.plan.batches.iter().map(Vec::len).sum::<usize>() as u64
    }

    pub(super) const fn job(&self, run: BatchRun) -> Job {
        Job {
            stage: self.plan.stage,
            plan: self.digest,
            task: Task::Batches(run),
        }
    }
}
