//! Which program this is, as `--version` says it.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Only the program's main file is told the commit, so that another one compiles next to nothing anew.
static COMMIT: OnceLock<String> = OnceLock::new();

/// Version and source of the program that wrote something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub version: String,
    /// Of the source; null where the build was not told.
    pub commit: Option<String>,
}

impl Program {
    /// This one.
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.get().cloned(),
        }
    }
}

/// Says once, at the start of the program, which commit it was built of.
pub fn built_of(commit: Option<&str>) {
    if let Some(commit) = commit {
        COMMIT.get_or_init(|| commit.to_owned());
    }
}
