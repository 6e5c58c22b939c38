//! From spec to work: stages, batches, cells, shards, and what they will cost.

pub mod cells;
pub mod disk;
pub mod estimate;
pub mod exhibits;
pub mod forecast;
pub mod forward;
pub mod selection;
pub mod shards;
