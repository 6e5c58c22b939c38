//! The methods by name: how each comes to its map, which networks it needs.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::baseline::Baseline;
use crate::role::Role;

/// How a slice is pushed up the noise levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str, parse_err_ty = String, parse_err_fn = unknown_encoding)]
pub enum Encoding {
    /// Deterministic (Eq. 4); only the noise that makes x_1 is drawn.
    Ddim,
    /// Stochastic (Eq. 2): fresh noise at every index.
    Ddpm,
}

fn unknown_encoding(text: &str) -> String {
    format!("unknown encoding '{text}': one of ddim, ddpm")
}

/// Which map a method of the AnoFPDM family thresholds. All of them come out of one pass.
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

/// A method of the benchmark. In text it is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    AnofpdmDdim,
    /// The same, segmented from S at the end step alone.
    AnofpdmDdimSte,
    AnofpdmDdpm,
    /// The same, segmented from S at the end step alone.
    AnofpdmDdpmSte,
    /// Table 3, row 1 (deterministic encoding).
    Gradient,
    /// Table 3, row 2 (deterministic encoding).
    GradientTe,
    /// Table 3, row 3 (deterministic encoding).
    GradientWeighted,
    /// One of the methods it is compared with.
    Baseline(Baseline),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Procedure {
    /// AnoFPDM: from a walk up the noise levels, tuned on image-level labels.
    Forward(Encoding, MapKind),
    /// From the difference between a slice and its restoration, tuned on pixel labels.
    Restoration(Baseline),
}

const COUNT: usize = 7 + Baseline::ALL.len();

impl Method {
    /// All methods, in the order of the report.
    pub const ALL: [Self; COUNT] = [
        Self::AnofpdmDdim,
        Self::AnofpdmDdimSte,
        Self::AnofpdmDdpm,
        Self::AnofpdmDdpmSte,
        Self::Gradient,
        Self::GradientTe,
        Self::GradientWeighted,
        Self::Baseline(Baseline::AnoddpmGaussian),
        Self::Baseline(Baseline::AnoddpmSimplex),
        Self::Baseline(Baseline::DdimClassifier),
        Self::Baseline(Baseline::DdimClfFree),
        Self::Baseline(Baseline::CgCdm),
        Self::Baseline(Baseline::Andi),
    ];

    /// The names of all methods, in the same order.
    const NAMES: [&'static str; COUNT] = {
        let mut names = [""; COUNT];
        let mut index = 0;
        while index < COUNT {
            names[index] = Self::ALL[index].name();
            index += 1;
        }
        names
    };

    /// The method that thresholds `map` of an `encoding` trajectory, where there is one.
    pub fn of(encoding: Encoding, map: MapKind) -> Option<Self> {
        let wanted = Procedure::Forward(encoding, map);
        Self::ALL
            .into_iter()
            .find(|method| method.procedure() == wanted)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::AnofpdmDdim => "anofpdm-ddim",
            Self::AnofpdmDdimSte => "anofpdm-ddim-ste",
            Self::AnofpdmDdpm => "anofpdm-ddpm",
            Self::AnofpdmDdpmSte => "anofpdm-ddpm-ste",
            Self::Gradient => "gradient",
            Self::GradientTe => "gradient-te",
            Self::GradientWeighted => "gradient-weighted",
            Self::Baseline(baseline) => baseline.name(),
        }
    }

    pub const fn procedure(self) -> Procedure {
        let (encoding, map) = match self {
            Self::AnofpdmDdim => (Encoding::Ddim, MapKind::Aam),
            Self::AnofpdmDdimSte => (Encoding::Ddim, MapKind::Ste),
            Self::AnofpdmDdpm => (Encoding::Ddpm, MapKind::Aam),
            Self::AnofpdmDdpmSte => (Encoding::Ddpm, MapKind::Ste),
            Self::Gradient => (Encoding::Ddim, MapKind::Gradient),
            Self::GradientTe => (Encoding::Ddim, MapKind::GradientTe),
            Self::GradientWeighted => (Encoding::Ddim, MapKind::GradientWeighted),
            Self::Baseline(baseline) => return Procedure::Restoration(baseline),
        };
        Procedure::Forward(encoding, map)
    }

    /// Encoding and map of a method of the AnoFPDM family.
    pub const fn forward(self) -> Option<(Encoding, MapKind)> {
        match self.procedure() {
            Procedure::Forward(encoding, map) => Some((encoding, map)),
            Procedure::Restoration(_) => None,
        }
    }

    pub const fn baseline(self) -> Option<Baseline> {
        match self.procedure() {
            Procedure::Forward(..) => None,
            Procedure::Restoration(baseline) => Some(baseline),
        }
    }

    pub const fn networks(self) -> &'static [Role] {
        match self.procedure() {
            Procedure::Forward(..) => &[Role::Guided],
            Procedure::Restoration(baseline) => baseline.networks(),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| D::Error::unknown_variant(&name, &Self::NAMES))
    }
}

impl Encoding {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_read_back_by_its_name() {
        for method in Method::ALL {
            let text = serde_json::to_string(&method).unwrap();
            assert_eq!(text, format!("\"{method}\""));
            assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method);
        }
        assert!(Method::ALL.is_sorted(), "the report sorts by this order");
        let error = serde_json::from_str::<Method>("\"ddim-clf-fre\"").unwrap_err();
        assert!(error.to_string().contains("`ddim-clf-free`"), "{error}");
    }
}
