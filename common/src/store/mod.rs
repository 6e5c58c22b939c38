//! What lies on the disk: artifacts by digest, the journal of a run, preprocessed slices.

pub mod artifacts;
pub mod checkpoint;
pub mod durable;
pub mod journal;
pub mod scaling;
pub mod slices;
pub mod tensor_header;
