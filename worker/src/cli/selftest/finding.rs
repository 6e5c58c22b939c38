//! What a check finds.

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but a person should look.
    Look,
    /// It does not work.
    No,
    /// Not run here.
    NotRun,
}

impl Verdict {
    /// As people read it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::No => "no",
            Self::NotRun => "not run",
        }
    }
}

/// A number that a check has measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    /// Not a number and infinities are null in JSON.
    pub(super) value: f64,
    /// Empty for shares and counts.
    pub(super) unit: &'static str,
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    /// Which check, and of what.
    pub(super) check: String,
    pub(super) verdict: Verdict,
    pub(super) says: String,
    /// What to do; none where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
    pub(super) figures: Vec<Figure>,
}

impl Finding {
    /// Says `says`; as it should be until told otherwise.
    pub(super) fn new(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict: Verdict::Ok,
            says: says.into(),
            advice: None,
            figures: Vec::new(),
        }
    }

    /// With a number.
    #[must_use]
    pub(super) fn figure(
        mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
        self
    }

    /// With another verdict than ok, and what to do.
    #[must_use]
    pub(super) fn but(mut self, verdict: Verdict, advice: impl Into<String>) -> Self {
        self.verdict = verdict;
        self.advice = Some(advice.into());
        self
    }
}
