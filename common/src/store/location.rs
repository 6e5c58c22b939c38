//! Where a store or a file lies: on this machine, or in an object store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::object::ObjectUrl;

/// A path, or `s3://…` and its like; `file://…` is a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    Local(PathBuf),
    Remote(ObjectUrl),
}

/// A text that is meant as an address and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}': {reason}")]
pub struct LocationError {
    text: String,
    reason: String,
}

impl LocationError {
    pub(super) fn new(text: &str, reason: impl Into<String>) -> Self {
        Self {
            text: text.to_owned(),
            reason: reason.into(),
        }
    }
}

impl Location {
    /// Counts a relative path from `base`; an address stays what it is.
    #[must_use]
    pub fn from_folder(&self, base: &Path) -> Self {
        match self {
            Self::Local(path) => Self::Local(base.join(path)),
            Self::Remote(_) => self.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Local(path) if path.as_os_str().is_empty())
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        match text.split_once(':') {
            Some(("file", rest)) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path.starts_with('/') && !path.contains('%') {
                    true => Ok(Self::Local(path.into())),
                    false => Err(LocationError::new(
                        text,
                        "a file address is file:// and an absolute path, without % signs",
                    )),
                }
            }
            Some((scheme, rest)) if rest.starts_with("//") || ObjectUrl::has_scheme(scheme) => {
                text.parse().map(Self::Remote)
            }
            _ => Ok(Self::Local(text.into())),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

impl From<ObjectUrl> for Location {
    fn from(url: ObjectUrl) -> Self {
        Self::Remote(url)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(url) => url.fmt(f),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Local(path) => path.serialize(serializer),
            Self::Remote(url) => serializer.collect_str(url),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses() {
        for (text, local) in [
            ("stores/a", Some("stores/a")),
            ("/data/c:/x", Some("/data/c:/x")),
            ("a:b", Some("a:b")),
            ("file:///data/a b", Some("/data/a b")),
            ("file:/data", Some("/data")),
            ("s3://bucket/stores/a/", None),
            ("gs://bucket", None),
            ("az://container/x", None),
            ("abfss://container@account.dfs.core.windows.net/x", None),
            ("http://127.0.0.1:8000/store", None),
            ("https://example.com/store", None),
        ] {
            let found: Location = text.parse().unwrap();
            match local {
                Some(path) => assert_eq!(found, Location::Local(path.into()), "{text}"),
                None => {
                    assert_eq!(found.to_string(), text.trim_end_matches('/'));
                    let again: Location = found.to_string().parse().unwrap();
                    assert_eq!(again, found);
                }
            }
        }
    }

    #[test]
    fn what_is_meant_as_an_address_and_is_none() {
        for (text, part) in [
            ("s4://bucket/x", "s3, gs, az"),
            ("s3:/bucket/x", "s3://"),
            ("s3:bucket/x", "s3://"),
            ("s3://", "bucket"),
            ("s3:///x", "bucket"),
            ("s3://key:secret@bucket/x", "environment"),
            ("https://user@example.com/x", "environment"),
            ("https://example.com/x?X-Amz-Signature=1", "?"),
            ("s3://bucket/x#1", "#"),
            ("s3://bucket/a//b", "//"),
            ("s3://bucket/../b", ".."),
            ("s3://bucket/a%2Fb", "%"),
            ("file://host/x", "absolute"),
            ("file://x", "absolute"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn relative_paths_count_from_a_folder() {
        let base = Path::new("/specs");
        for (text, found) in [
            ("a", "/specs/a"),
            ("/a", "/a"),
            ("s3://bucket/a", "s3://bucket/a"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.from_folder(base).to_string(), found);
        }
    }
}
