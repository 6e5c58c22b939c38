//! What the coordinator and the workers agree on.
//!
//! No libtorch here and no runtime of its own: the pieces are plain data, pure functions and files.
//!
//! `docs/science.md` of the repository says where each equation and algorithm of the paper stands.

pub mod anofpdm;
pub mod backoff;
pub mod baseline;
pub mod baseline_masks;
pub mod calibration;
pub mod device;
pub mod error_text;
pub mod ids;
pub mod instance;
pub mod method;
pub mod metrics;
pub mod nearest;
pub mod network;
pub mod picture;
pub mod plan;
pub mod queue;
pub mod random;
pub mod record;
pub mod resize;
pub mod role;
pub mod semantics;
#[cfg(feature = "shell")]
pub mod shell;
pub mod spec;
pub mod statistics;
pub mod store;
pub mod strength;
pub mod telemetry;
pub mod wire;
