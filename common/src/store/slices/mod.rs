//! The slice store: preprocessed MRI, a subject a file, and a manifest that makes the folder a store.
//!
//! No byte of a subject is believed before all of them were compared with the manifest's digest, and no count of the
//! manifest before the file has it: there is no other way to open a subject.

mod error;
mod left_right;
mod manifest;
mod mirror;
mod on_source;
mod reader;
mod source_header;
mod subject_file;
mod upload;
mod verification;
mod writer;

pub use error::StoreError;
pub use left_right::{NoLeftRight, SliceAxis, nearest_axes};
pub use manifest::{
    MANIFEST_FORMAT, SkippedSubject, Split, StoreManifest, SubjectRecord, is_plain_name,
};
pub use on_source::SourceFault;
pub use reader::{ImageReader, SliceStore, SubjectImages, TruthReader};
pub use source_header::SourceHeader;
pub use subject_file::{AxisMap, SourceGrid};
pub use upload::Uploaded;
pub use verification::Watch;
pub use writer::{ConvertedSubject, Stale, StoreWriter, SubjectData};
