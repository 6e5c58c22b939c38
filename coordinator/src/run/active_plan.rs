//! The plan that the shards under way belong to.

use anofpdm_common::ids::Digest;
use anofpdm_common::work::{ForwardPlan, TrainPlan, TrialPlan};

/// The plan the current shards belong to.
#[derive(Debug)]
pub(super) enum Current {
    /// No stage has begun.
    Idle,
    /// Training of one network.
    Train(Digest, Box<TrainPlan>),
    /// Number formats compared.
    Trial(Digest, Box<TrialPlan>),
    /// Calibration or scoring; the size of a slice is that of the store.
    Forward(Digest, Box<ForwardPlan>, usize),
}

impl Current {
    /// True while a network is trained.
    pub(super) const fn is_training(&self) -> bool {
        matches!(self, Self::Train(..))
    }

    /// The plan of calibration or scoring and its digest, where the current one is such.
    pub(super) fn forward_plan(&self) -> Option<(Digest, &ForwardPlan)> {
        match self {
            Self::Forward(digest, plan, _) => Some((*digest, plan)),
            Self::Idle | Self::Train(..) | Self::Trial(..) => None,
        }
    }
}
