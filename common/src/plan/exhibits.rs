//! Which slices of a plan are to be looked at, and what of them is kept.

use serde::{Deserialize, Serialize};

use super::forward::SliceRef;
use crate::method::MapKind;

/// Most steps whose maps are kept (Figure 3).
pub const MAX_EXHIBIT_STEPS: usize = 16;

/// Slices by what is kept of them; each list ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExhibitPlan {
    /// The maps that masks are made of (Figures 4 and 6, the viewer).
    pub maps: Vec<SliceRef>,
    /// Sequences over the steps (Figure 2).
    pub sequences: Vec<SliceRef>,
    /// Maps of the steps `step_indices` (Figure 3).
    pub steps: Vec<SliceRef>,
    /// Indices of forward steps, ascending.
    pub step_indices: Vec<u32>,
}

/// What is kept of one slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Wanted {
    pub map: bool,
    pub sequences: bool,
    pub steps: bool,
}

impl Wanted {
    /// Whether anything is.
    pub const fn any(self) -> bool {
        self.map || self.sequences || self.steps
    }

    /// What the exhibit of one map keeps: what all maps of a pass have in common is kept with the aggregated one.
    #[must_use]
    pub fn of_map(self, map: MapKind) -> Self {
        let common = map == MapKind::Aam;
        Self {
            map: self.map,
            sequences: self.sequences && common,
            steps: self.steps && common,
        }
    }

    /// What the exhibit of a baseline keeps.
    #[must_use]
    pub const fn of_baseline(self) -> Self {
        Self {
            map: self.map,
            sequences: false,
            steps: false,
        }
    }
}

impl ExhibitPlan {
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty() && self.sequences.is_empty() && self.steps.is_empty()
    }

    /// What is kept of `slice`.
    pub fn of(&self, slice: SliceRef) -> Wanted {
        let among = |slices: &[SliceRef]| slices.binary_search(&slice).is_ok();
        Wanted {
            map: among(&self.maps),
            sequences: among(&self.sequences),
            steps: among(&self.steps),
        }
    }

    pub(super) fn check(&self, steps: u32) -> Result<(), String> {
        let ascending = |slices: &[SliceRef]| slices.is_sorted_by(|a, b| a < b);
        let sound = [&self.maps, &self.sequences, &self.steps]
            .into_iter()
            .all(|slices| ascending(slices))
            && self.step_indices.is_sorted_by(|a, b| a < b)
            && self.step_indices.len() <= MAX_EXHIBIT_STEPS
            && self.step_indices.iter().all(|index| *index < steps);
        if sound {
            Ok(())
        } else {
            Err(format!(
                "exhibits out of order, or of steps {:?} of {steps}",
                self.step_indices
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_maps_of_a_pass_share_is_kept_once() {
        let slice = |position| SliceRef {
            subject: 0,
            position,
        };
        let plan = ExhibitPlan {
            maps: vec![slice(1), slice(4)],
            sequences: vec![slice(2), slice(4)],
            steps: vec![slice(4)],
            step_indices: vec![0, 7],
        };
        assert!(plan.check(8).is_ok());
        assert!(plan.check(7).is_err(), "a step beyond the last");
        assert!(!plan.of(slice(0)).any());
        let all = plan.of(slice(4));
        assert!(all.map && all.sequences && all.steps);
        assert_eq!(all.of_map(MapKind::Aam), all);
        assert_eq!(all.of_map(MapKind::Ste), all.of_baseline());
        assert!(!plan.of(slice(2)).of_map(MapKind::Ste).any());
        let unordered = ExhibitPlan {
            maps: vec![slice(4), slice(1)],
            ..plan
        };
        assert!(unordered.check(8).is_err());
    }
}
