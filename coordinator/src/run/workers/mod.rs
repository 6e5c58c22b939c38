//! The workers of a run: those it starts, those that come to its queue, and those that train together.

pub mod gang;
pub mod pool;
pub mod stall_detector;
pub mod supervisor;
