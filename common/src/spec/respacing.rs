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

    /// Indices into the full schedule of the kept steps, ascending: evenly spread with both ends, halves rounded to even,
    /// as the public implementation has it.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn indices(self) -> Vec<u32> {
        let Self::Steps(count) = self else {
            return (0..DIFFUSION_STEPS).collect();
        };
        let stride = match count {
            0 | 1 => 1.0,
            more => f64::from(DIFFUSION_STEPS - 1) / f64::from(more - 1),
        };
        let mut position = 0.0_f64;
        let indices = (0..count).map(|_| {
            let index = position.round_ties_even() as u32;
            position += stride;
            index
        });
        indices.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `space_timesteps(1000, [50])` and `[3]` of guided-diffusion; one kept step is the first.
    #[test]
    fn kept_steps_are_those_of_the_public_code() {
        let fifty = Respacing::Steps(50).indices();
        assert_eq!(fifty[..6], [0, 20, 41, 61, 82, 102]);
        assert_eq!((fifty.len(), fifty[49]), (50, 999));
        // 499.5 is rounded to even.
        assert_eq!(Respacing::Steps(3).indices(), [0, 500, 999]);
        assert_eq!(Respacing::Steps(1).indices(), [0]);
        assert_eq!(Respacing::None.indices().len(), 1_000);
        let all = Respacing::Steps(1_000).indices();
        assert!(
            all.iter()
                .enumerate()
                .all(|(place, index)| place == *index as usize)
        );
    }
}
