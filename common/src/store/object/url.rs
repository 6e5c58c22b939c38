//! Addresses of folders and files in object stores.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use crate::store::location::LocationError;

/// What stands before `://`, and what it means.
const SCHEMES: [&str; 8] = ["s3", "gs", "az", "azure", "abfs", "abfss", "http", "https"];

const NAMED: &str = "s3, gs, az, abfs, http, https and file are known";

/// `s3://BUCKET/PREFIX` and its like: no credentials, no query, no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectUrl(Arc<Url>);

impl ObjectUrl {
    pub(in crate::store) fn has_scheme(scheme: &str) -> bool {
        SCHEMES.contains(&scheme)
    }

    /// The address of `name` below this one; of an empty name: this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        if name.is_empty() {
            return self.clone();
        }
        let mut url = Url::clone(&self.0);
        url.set_path(&format!("{}/{name}", self.0.path().trim_end_matches('/')));
        Self(url.into())
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.0.path().rsplit('/').next().unwrap_or_default()
    }

    /// True where files can be created: a web server gives them only.
    pub fn is_writable(&self) -> bool {
        !self.0.scheme().starts_with("http")
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for ObjectUrl {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        // What may be a secret is not repeated.
        let shown = match text.rsplit_once('@') {
            Some((_, host)) if text.matches(':').count() > 1 => format!("{scheme}://…@{host}"),
            _ => text.to_owned(),
        };
        let refused = |reason: &str| LocationError::new(&shown, reason);
        if !Self::has_scheme(scheme) {
            return Err(refused(&format!("{scheme}:// is not known; {NAMED}")));
        }
        let Some(after) = rest.strip_prefix("//") else {
            let meant = rest.trim_start_matches('/');
            return Err(refused(&format!(
                "an address begins with {scheme}:// (for instance {scheme}://{meant})"
            )));
        };
        let (host, path) = after.split_once('/').unwrap_or((after, ""));
        let secret = match host.split_once('@') {
            // The account of an Azure container.
            Some((container, _)) if scheme.starts_with("a") => container.contains(':'),
            Some(_) => true,
            None => false,
        };
        if secret {
            return Err(refused(
                "user names, keys and passwords do not belong into an address; the environment has them (docs/fleet.md)",
            ));
        }
        if after.contains(['?', '#']) {
            return Err(refused(
                "'?' and '#' are not possible; signed addresses of single objects are not supported",
            ));
        }
        let path = path.trim_end_matches('/');
        if path.contains('%') {
            return Err(refused("'%' is not possible: write names as they are"));
        }
        let empty = |part: &str| part.is_empty() || part == "." || part == "..";
        if !path.is_empty() && path.split('/').any(empty) {
            return Err(refused("'//', '.' and '..' are not possible within a path"));
        }
        let url = Url::parse(text.trim_end_matches('/')).map_err(|error| {
            refused(&match host.is_empty() {
                true => "the bucket (or container, or host) is missing".to_owned(),
                false => error.to_string(),
            })
        })?;
        match url.host_str() {
            Some(host) if !host.is_empty() => Ok(Self(url.into())),
            _ => Err(refused("the bucket (or container, or host) is missing")),
        }
    }
}
