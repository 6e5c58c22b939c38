//! Object stores: slices, weights and records in a bucket instead of a shared disk.
//!
//! Everything that lies there is named by its digest, or stands in a manifest with one, so a copy on the local disk is
//! either what the run means or no copy. Files are created and never changed; nothing is appended. Journal and lock of
//! a run stay on a disk, since no object store has either.

mod cache;
mod client;
mod error;
mod folder;
mod settings;
mod url;

pub use cache::CacheFolder;
pub use error::{ObjectError, Refusal};
#[cfg(test)]
pub(in crate::store) use folder::tests;
pub use folder::{Created, ObjectFolder};
pub use settings::{ObjectSettings, SettingsError};
pub use url::ObjectUrl;
