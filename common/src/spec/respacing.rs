//! `respacing`: which steps of the 1000-step schedule are kept.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Steps of the full schedule.
pub const DIFFUSION_STEPS: u32 = 1_000;

/// A strided schedule: `"none"`, or a number of kept steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Respacing {
    /// All 1000 steps.
    None,
    /// This many, evenly strided.
    Steps(u32),
}

impl Respacing {
    /// Number of kept steps of the full schedule.
    pub const fn kept(self) -> u32 {
        self.kept_of(DIFFUSION_STEPS)
    }

    /// Number of kept steps of a schedule of `steps`.
    pub const fn kept_of(self, steps: u32) -> u32 {
        match self {
            Self::None => steps,
            Self::Steps(steps) => steps,
        }
    }
}

impl std::fmt::Display for Respacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Steps(steps) => write!(f, "{steps}"),
        }
    }
}

impl std::str::FromStr for Respacing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        match text.parse() {
            Ok(steps) if (1..=DIFFUSION_STEPS).contains(&steps) => Ok(Self::Steps(steps)),
            _ => Err(format!(
                "respacing is '{text}': \"none\" or a number of kept steps from 1 to {DIFFUSION_STEPS}"
            )),
        }
    }
}

impl Serialize for Respacing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            match self {
                Self::None => serializer.serialize_str("none"),
                Self::Steps(steps) => serializer.serialize_u32(*steps),
            }
        } else {
            serializer.serialize_u32(match self {
                Self::None => 0,
                Self::Steps(steps) => *steps,
            })
        }
    }
}

impl<'de> Deserialize<'de> for Respacing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return match u32::deserialize(deserializer)? {
                0 => Ok(Self::None),
                steps @ 1..=DIFFUSION_STEPS => Ok(Self::Steps(steps)),
                steps => Err(D::Error::custom(format!("respacing {steps} is too large"))),
            };
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Word(String),
            Number(u32),
        }
        let text = match Text::deserialize(deserializer)? {
            Text::Word(word) => word,
            Text::Number(number) => number.to_string(),
        };
        text.parse().map_err(D::Error::custom)
    }
}
