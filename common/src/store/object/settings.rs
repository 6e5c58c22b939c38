//! How this process uses object stores, from its environment, where credentials come from as well.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// The folder that has one for local copies.
const CACHE: &str = "ANOFPDM_OBJECT_CACHE";
/// Room for them, in GB (10^9 bytes).
const CACHE_GB: &str = "ANOFPDM_OBJECT_CACHE_GB";
/// Seconds for which a server that does not answer is waited for.
const WAIT: &str = "ANOFPDM_OBJECT_WAIT";

/// The folder for local copies in it.
const COPIES: &str = "object-copies";

const DEFAULT_GB: f64 = 50.0;
const DEFAULT_WAIT: u64 = 600;

/// The settings of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSettings {
    /// Folder for local copies.
    pub cache: PathBuf,
    /// Most bytes of local copies, in each folder that has some.
    pub cache_bytes: u64,
    /// How long a server that does not answer is waited for.
    pub wait: Duration,
}

/// A variable that says something else than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is '{value}': {expected}")]
pub struct SettingsError {
    variable: &'static str,
    value: String,
    expected: &'static str,
}

impl ObjectSettings {
    /// Reads the environment.
    pub fn of_process() -> Result<Self, SettingsError> {
        Self::read(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let cache = match variable(CACHE) {
            Some(folder) => PathBuf::from(folder),
            None => match (variable("XDG_CACHE_HOME"), variable("HOME")) {
                (Some(folder), _) => PathBuf::from(folder).join("anofpdm"),
                (None, Some(home)) => PathBuf::from(home).join(".cache/anofpdm"),
                (None, None) => env::temp_dir().join("anofpdm-cache"),
            },
        };
        // A folder of its own: what lies in there is removed when room is needed.
        let cache = cache.join(COPIES);
        let gb = number(&variable, CACHE_GB, DEFAULT_GB, "a number of GB, above 0")?;
        let seconds = number(&variable, WAIT, DEFAULT_WAIT, "a number of seconds")?;
        if !(gb > 0.0 && gb < 1e9) {
            return Err(SettingsError {
                variable: CACHE_GB,
                value: gb.to_string(),
                expected: "a number of GB, above 0",
            });
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let cache_bytes = (gb * 1e9) as u64;
        Ok(Self {
            cache,
            cache_bytes,
            wait: Duration::from_secs(seconds.min(30 * 86_400)),
        })
    }
}

fn number<T: std::str::FromStr>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: T,
    expected: &'static str,
) -> Result<T, SettingsError> {
    variable(name).map_or(Ok(default), |value| {
        value.parse().map_err(|_| SettingsError {
            variable: name,
            value,
            expected,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<ObjectSettings, SettingsError> {
        ObjectSettings::read(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn defaults_and_what_the_environment_says() {
        let plain = with(&[("HOME", "/home/a")]).unwrap();
        assert_eq!(
            plain.cache,
            PathBuf::from("/home/a/.cache/anofpdm/object-copies")
        );
        assert_eq!(plain.cache_bytes, 50_000_000_000);
        assert_eq!(plain.wait, Duration::from_secs(600));
        let set = [(CACHE, "/scratch"), (CACHE_GB, "0.5"), (WAIT, "3")];
        let set = with(&set).unwrap();
        assert_eq!(set.cache, PathBuf::from("/scratch/object-copies"));
        assert_eq!(set.cache_bytes, 500_000_000);
        assert_eq!(set.wait, Duration::from_secs(3));
        for (name, value) in [
            (CACHE_GB, "0"),
            (CACHE_GB, "-1"),
            (CACHE_GB, "nan"),
            (CACHE_GB, "10GB"),
            (WAIT, "1m"),
        ] {
            let error = with(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
