//! `devices`: how many ranks train a network together.

use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::plan::MAX_WORLD;

/// Data-parallel world size: a number, or the least and the most that will do.
///
/// What is trained does not depend on it but for the order of sums and for dropout masks (docs/architecture.md, "Training together"): the global
/// batch, its samples, times and noise are the same for any world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Devices {
    Exactly(u32),
    /// As many as are there when the gang starts, within these bounds; a run waits for the workers it starts itself.
    Between(Bounds),
}

/// Bounds of a world size, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Fewer ranks wait for more.
    pub min: u32,
    /// More devices are left to others.
    pub max: u32,
}

impl Devices {
    pub const fn exactly(world: u32) -> Self {
        Self::Exactly(world)
    }

    pub const fn min(self) -> u32 {
        match self {
            Self::Exactly(world) => world,
            Self::Between(bounds) => bounds.min,
        }
    }

    pub const fn max(self) -> u32 {
        match self {
            Self::Exactly(world) => world,
            Self::Between(bounds) => bounds.max,
        }
    }

    /// Checks the bounds; every rank needs a sample of the global batch.
    pub(super) fn validate(self, batch: u64) -> Result<(), SpecError> {
        let (min, max) = (self.min(), self.max());
        if min == 0 || max > MAX_WORLD {
            return Err(SpecError::new(format!(
                "devices is {self}: 1 to {MAX_WORLD} is supported"
            )));
        }
        if min > max {
            return Err(SpecError::new(format!(
                "devices is {self}: min is above max"
            )));
        }
        if u64::from(max) > batch {
            return Err(SpecError::new(format!(
                "devices is {self}, but the global batch has {batch} samples: each device needs one"
            )));
        }
        Ok(())
    }
}

impl std::fmt::Display for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(world) => write!(f, "{world}"),
            Self::Between(Bounds { min, max }) => write!(f, "{{ min = {min}, max = {max} }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Section {
        devices: Devices,
    }

    fn parse(text: &str) -> Result<Devices, toml::de::Error> {
        toml::from_str::<Section>(text).map(|section| section.devices)
    }

    #[test]
    fn a_number_or_bounds() {
        let fixed = parse("devices = 2").unwrap();
        assert_eq!((fixed.min(), fixed.max()), (2, 2));
        let elastic = parse("devices = { min = 1, max = 4 }").unwrap();
        assert_eq!((elastic.min(), elastic.max()), (1, 4));
        for (devices, json) in [(fixed, "2"), (elastic, r#"{"min":1,"max":4}"#)] {
            assert_eq!(serde_json::to_string(&devices).unwrap(), json);
            assert_eq!(serde_json::from_str::<Devices>(json).unwrap(), devices);
        }
        for wrong in [
            "devices = -1",
            "devices = 1.5",
            "devices = { min = 1 }",
            "devices = \"two\"",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_are_checked() {
        let check = |text: &str| parse(text).unwrap().validate(8);
        assert!(check("devices = 8").is_ok());
        for (wrong, told) in [
            ("devices = 0", "1 to 64"),
            ("devices = 65", "1 to 64"),
            ("devices = 9", "8 samples"),
            ("devices = { min = 3, max = 2 }", "above max"),
        ] {
            let message = check(wrong).unwrap_err().to_string();
            assert!(message.contains(told), "{wrong}: {message}");
        }
    }
}
