//! The slice store: preprocessed MRI, a subject a file, and a manifest that makes the folder a store.

mod error;
mod left_right;
mod manifest;
mod reader;
mod subject_file;
mod writer;

pub use error::StoreError;
pub use left_right::{NoLeftRight, SliceAxis};
pub use manifest::{
    MANIFEST_FORMAT, Manifest, SkippedSubject, Split, SubjectRecord, is_plain_name,
};
pub use reader::{ImageReader, SliceStore, SubjectImages, TruthReader};
pub use subject_file::{AxisMap, SourceGrid};
pub use writer::{ConvertedSubject, StoreWriter, SubjectData};
