//! The plan that the shards under way belong to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anofpdm_common::ids::Digest;
use anofpdm_common::method::Method;
use anofpdm_common::plan::{
    BatchRun, Cell, ForwardPlan, Job, PlanError, Stage, Task, TrainPlan, TrialPlan,
};

/// What metrics call cells that no method's mask comes from, and keys of another plan.
const TRACES: &str = "traces";
/// And records that no number of the table is made of.
const FIGURES: &str = "figures";
const UNKNOWN: &str = "other";

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

    /// The stage at work. A trial of number formats belongs to calibration.
    pub(super) fn stage(&self) -> Option<Stage> {
        match self {
            Self::Idle => None,
            Self::Train(..) => Some(Stage::Train),
            Self::Trial(..) => Some(Stage::Calibrate),
            Self::Forward(active) => Some(active.plan.stage),
        }
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

    /// Whose record a key is, for metrics; what calibration needs of AnoFPDM is `traces`, what no number of the table is made
    /// of `figures`.
    pub(super) fn method_of(&self, key: Digest) -> &'static str {
        let cell = self
            .place_of(key)
            .and_then(|(_, cell)| self.plan.cells.get(usize::from(cell)));
        cell.map_or(UNKNOWN, |cell| self.method(cell))
    }

    fn method(&self, cell: &Cell) -> &'static str {
        if !cell.output.counts() {
            return FIGURES;
        }
        let trajectory = self.plan.trajectories.get(usize::from(cell.trajectory));
        let method = trajectory.and_then(|trajectory| cell.method(trajectory));
        method.map_or(TRACES, Method::name)
    }

    /// Each method of the stage, with its records for which `counts` holds and all of them.
    pub(super) fn by_method(
        &self,
        counts: impl Fn(Digest) -> bool,
    ) -> BTreeMap<&'static str, (u64, u64)> {
        // Of each cell: keys are many, and this is asked for at every turn.
        let mut counted = vec![0; self.plan.cells.len()];
        for cells in &self.keys {
            for (counted, key) in counted.iter_mut().zip(cells) {
                *counted += u64::from(counts(*key));
            }
        }
        let batches = self.keys.len() as u64;
        let mut methods: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for (cell, counted) in self.plan.cells.iter().zip(counted) {
            let (done, planned) = methods.entry(self.method(cell)).or_default();
            *done += counted;
            *planned += batches;
        }
        methods
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
