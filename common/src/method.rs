//! The methods by name: which encoding they walk, which anomaly map they keep, which network they need.

use serde::{Deserialize, Serialize};

/// How a slice is pushed up the noise levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Deterministic (Eq. 4); only the noise that makes x_1 is drawn.
    Ddim,
    /// Stochastic (Eq. 2): fresh noise at every index.
    Ddpm,
}

/// Which map a method thresholds. All of them come out of one pass (ANCHORS-METHODS 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// The aggregated map H of Eq. 20.
    Aam,
    /// The single map S at the end step.
    Ste,
    /// Mean of the squared gradient of log p(h | x_t) (Table 3, row 1).
    Gradient,
    /// The squared gradient at the end step (Table 3, row 2).
    GradientTe,
    /// Mean of the gradient weighted by C_t^2 (Table 3, row 3).
    GradientWeighted,
}

/// A method of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// AnoFPDM with deterministic encoding.
    AnofpdmDdim,
    /// The same, segmented from S at the end step alone.
    AnofpdmDdimSte,
    /// AnoFPDM with stochastic encoding.
    AnofpdmDdpm,
    /// The same, segmented from S at the end step alone.
    AnofpdmDdpmSte,
    /// Table 3, row 1 (deterministic encoding).
    Gradient,
    /// Table 3, row 2 (deterministic encoding).
    GradientTe,
    /// Table 3, row 3 (deterministic encoding).
    GradientWeighted,
}

impl Method {
    /// All methods, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::AnofpdmDdim,
        Self::AnofpdmDdimSte,
        Self::AnofpdmDdpm,
        Self::AnofpdmDdpmSte,
        Self::Gradient,
        Self::GradientTe,
        Self::GradientWeighted,
    ];

    /// The method that thresholds `map` of an `encoding` trajectory, where there is one.
    pub fn of(encoding: Encoding, map: MapKind) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.encoding() == encoding && method.map() == map)
    }

    /// The name used in specs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnofpdmDdim => "anofpdm-ddim",
            Self::AnofpdmDdimSte => "anofpdm-ddim-ste",
            Self::AnofpdmDdpm => "anofpdm-ddpm",
            Self::AnofpdmDdpmSte => "anofpdm-ddpm-ste",
            Self::Gradient => "gradient",
            Self::GradientTe => "gradient-te",
            Self::GradientWeighted => "gradient-weighted",
        }
    }

    /// The encoding whose trajectory the method reads.
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::AnofpdmDdpm | Self::AnofpdmDdpmSte => Encoding::Ddpm,
            _ => Encoding::Ddim,
        }
    }

    /// The map the method thresholds.
    pub const fn map(self) -> MapKind {
        match self {
            Self::AnofpdmDdim | Self::AnofpdmDdpm => MapKind::Aam,
            Self::AnofpdmDdimSte | Self::AnofpdmDdpmSte => MapKind::Ste,
            Self::Gradient => MapKind::Gradient,
            Self::GradientTe => MapKind::GradientTe,
            Self::GradientWeighted => MapKind::GradientWeighted,
        }
    }

    /// The name, in `[model.*]`, of the network the method needs.
    pub const fn network(self) -> &'static str {
        "guided"
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Encoding {
    /// The name used in traces and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
        }
    }
}
