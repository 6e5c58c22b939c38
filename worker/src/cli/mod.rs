//! Commands of `anofpdm-worker` beside `run` and `import`: arguments, and what is printed.

pub mod bench;
pub mod bench_train;
mod clock;
pub mod predict;
pub mod selftest;
pub mod trace;
pub mod version;
