//! `[report]`: what is kept to be looked at.

use serde::{Deserialize, Serialize};

use super::SpecError;

/// `[report]` of a spec. Decides no number of the table, and nothing of it enters the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSpec {
    /// Test patients whose scored slices are kept as pictures.
    pub patients: u32,
    /// Healthy and unhealthy test slices, so many of each, whose sequences over the steps are kept (Figure 2).
    pub traces: u32,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self {
            patients: 4,
            traces: 200,
        }
    }
}

impl ReportSpec {
    /// Whether anything is kept.
    pub const fn any(self) -> bool {
        self.patients > 0 || self.traces > 0
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        for (key, value, limit) in [
            ("patients", self.patients, 100),
            ("traces", self.traces, 10_000),
        ] {
            if value > limit {
                return Err(SpecError::new(format!(
                    "report.{key} is {value}: 0 to {limit} is supported"
                )));
            }
        }
        Ok(())
    }
}
