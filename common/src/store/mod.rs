//! What lies on a disk, or in an object store: artifacts by digest, preprocessed slices; and on a disk alone the journal
//! of a run.

pub mod artifacts;
pub mod checkpoint;
pub mod durable;
mod hashed_file;
pub mod journal;
pub mod location;
pub mod object;
pub mod remote_file;
pub mod scaling;
pub mod slices;
pub mod tensor_header;
