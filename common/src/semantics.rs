//! The three sets of science switches (docs/science.md, "Three semantics"). Nothing else in the project decides them.
//!
//! Index words: index `i` counts steps from 0 and is the paper's `t = i + 1`.

use serde::{Deserialize, Serialize};

/// Which of the three readings of the method a number is computed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str, parse_err_ty = String, parse_err_fn = unknown_semantics)]
pub enum Semantics {
    /// The equations as printed: nothing clamped, the unguided prediction is the null one.
    Paper,
    /// The paper with every predicted x0 clamped to [-1, 1]. The default.
    PaperClipped,
    /// What the public code computes, off-by-ones included.
    Reference,
}

/// The label the unguided prediction (Eq. 10) is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnguidedLabel {
    /// The null label, as Eq. 10 says.
    Null,
    /// The healthy label with guidance switched off (`w = -1`), as the public code does.
    Healthy,
}

/// How deterministic encoding walks up the noise levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdimStepping {
    /// Eq. 4: x of index i is advanced with the prediction made at index i.
    Equation4,
    /// The public code: x of index i - 1 is advanced with network and coefficients of index i
    /// (so from i = 1 on, predictions at index i see an x of level i + 1).
    ReferenceShifted,
}

/// Which steps Eq. 20 averages over, given the end step `t_e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// Indices `0 ..= t_e`.
    EndIncluded,
    /// Indices `0 .. t_e`; empty (NaN) when `t_e` is 0.
    EndExcluded,
}

/// How `M_te / M_max` becomes an index into the 101 quantile levels (Algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelIndex {
    Rounded,
    /// Rounded to two digits and then truncated in float32: 0.53 and 0.59 lose one.
    TruncatedFloat32,
}

/// How the threshold on the cosine (Eq. 18) is found on the validation slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CosineSearch {
    /// Best accuracy over the midpoints of the sorted cosines; the lowest on ties.
    BestAccuracy,
    /// The first of 100 quantiles (0.5 % to 9.5 %) of the healthy cosines with the fewest errors.
    HealthyQuantiles,
}

/// Which validation slices `M_max` is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDivergence {
    AllSlices,
    /// Only the truly unhealthy ones.
    UnhealthySlices,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BaselineForm {
    Published,
    /// As the public code of the paper ported it (docs/science.md, "As published and as ported", off-by-ones included). A method that is not in that
    /// code is computed as published.
    Port,
}

impl BaselineForm {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Port => "port",
        }
    }
}

/// Every switch, spelled out. Obtained from [`Semantics::switches`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Clamp every predicted x0 to [-1, 1].
    pub clamp_x0: bool,
    pub unguided: UnguidedLabel,
    /// Walk of the deterministic encoding.
    pub ddim: DdimStepping,
    /// Steps that Eq. 20 averages over. `-ste` and `gradient-te` maps are taken at the last of them.
    pub aggregation: Aggregation,
    pub level_index: LevelIndex,
    pub cosine: CosineSearch,
    /// Slices that M_max is taken over.
    pub max_divergence: MaxDivergence,
    pub baselines: BaselineForm,
}

const PAPER: Switches = Switches {
    clamp_x0: false,
    unguided: UnguidedLabel::Null,
    ddim: DdimStepping::Equation4,
    aggregation: Aggregation::EndIncluded,
    level_index: LevelIndex::Rounded,
    cosine: CosineSearch::BestAccuracy,
    max_divergence: MaxDivergence::AllSlices,
    baselines: BaselineForm::Published,
};

const PAPER_CLIPPED: Switches = Switches {
    clamp_x0: true,
    ..PAPER
};

const REFERENCE: Switches = Switches {
    clamp_x0: true,
    unguided: UnguidedLabel::Healthy,
    ddim: DdimStepping::ReferenceShifted,
    aggregation: Aggregation::EndExcluded,
    level_index: LevelIndex::TruncatedFloat32,
    cosine: CosineSearch::HealthyQuantiles,
    max_divergence: MaxDivergence::UnhealthySlices,
    baselines: BaselineForm::Port,
};

impl Semantics {
    /// The name used in specs, on command lines and in reports.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    pub const fn switches(self) -> Switches {
        match self {
            Self::Paper => PAPER,
            Self::PaperClipped => PAPER_CLIPPED,
            Self::Reference => REFERENCE,
        }
    }
}

fn unknown_semantics(text: &str) -> String {
    format!("unknown semantics '{text}': one of paper, paper-clipped, reference")
}
