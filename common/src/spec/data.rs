//! `[data]`: which slices.

use serde::{Deserialize, Serialize};

use super::{SpecError, is_default};
use crate::store::location::Location;
use crate::store::scaling::Scaling;

/// Most channels of a slice.
pub const MAX_SCORED: usize = 64;

/// `[data]` of a spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The slice store: a folder, or an address in an object store; relative paths count from the spec file.
    pub store: Location,
    /// Modalities whose maps are averaged; all of the store's where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scored: Vec<String>,
    /// Scaling to [-1, 1].
    #[serde(default = "default_scaling")]
    pub scaling: Scaling,
    /// Validation slices to calibrate on (fewer where the store has fewer).
    #[serde(default = "default_validation")]
    pub validation_slices: usize,
    /// Test slices to score (fewer where the store has fewer).
    #[serde(default = "default_test")]
    pub test_slices: usize,
    /// Test patients of whom every slice is scored, beside `test_slices`: what volumes are measured on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub test_patients: usize,
    /// Seed of the permutation that chooses slices, and of a ratio split.
    #[serde(default)]
    pub seed: u64,
    /// Overrides the store's patient split: `"75/5/20"`, `"reference"` or a file.
    pub split: Option<String>,
}

fn default_scaling() -> Scaling {
    Scaling::SliceMinmax
}

fn default_validation() -> usize {
    1_000
}

fn default_test() -> usize {
    10_000
}

impl DataSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        if self.store.is_empty() {
            return Err(SpecError::new(
                "data.store is empty: name the folder that `anofpdm preprocess` wrote",
            ));
        }
        for (key, value, least) in [
            ("validation_slices", self.validation_slices, 1),
            // With patients there need be no slices beside theirs.
            (
                "test_slices",
                self.test_slices,
                usize::from(self.test_patients == 0),
            ),
            ("test_patients", self.test_patients, 0),
        ] {
            if value < least || value > 10_000_000 {
                return Err(SpecError::new(format!(
                    "data.{key} is {value}: {least} to 10000000 is supported"
                )));
            }
        }
        if self.scored.len() > MAX_SCORED {
            return Err(SpecError::new(format!(
                "data.scored names {} channels: at most {MAX_SCORED} are supported",
                self.scored.len()
            )));
        }
        if let Some((index, name)) = self
            .scored
            .iter()
            .enumerate()
            .find(|(index, name)| self.scored[..*index].contains(name))
        {
            return Err(SpecError::new(format!(
                "data.scored names '{name}' twice (entry {})",
                index + 1
            )));
        }
        Ok(())
    }
}
