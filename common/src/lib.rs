//! What the coordinator and the workers agree on.
//!
//! No libtorch here and no runtime of its own: the pieces are plain data, pure functions and files.
//!
//! | module | concept |
//! |---|---|
//! | [`device`] | what a worker computes on, by its name |
//! | [`mod@error_text`] | an error with all its causes |
//! | [`mod@nearest`] | the known name that an unknown one is near to |
//! | [`ids`] | digests and the names of things |
//! | [`semantics`] | the science switches: `paper`, `paper-clipped`, `reference` |
//! | [`baseline`] | the methods it is compared with: their networks, settings and forms |
//! | [`network`] | the architecture of a network, as its `config.json` |
//! | [`role`] | what a network is for, by its name |
//! | [`method`] | the methods by name: which encoding, which map, which network |
//! | [`spec`] | the run spec (TOML) |
//! | [`work`] | batches, cells, shards and the keys of their records |
//! | [`random`] | the counter-based generator behind every random choice |
//! | [`record`] | what one cell says about one batch |
//! | [`wire`] | the byte form of everything that crosses a process border |
//! | [`queue`] | the lease state machine and its drivers |
//! | [`store`] | slice store and artifact store |
//! | [`segment`] | from anomaly map to mask |
//! | [`metrics`] | DICE, IoU, average precision, calibration |
//! | [`telemetry`] | logs, metrics |

pub mod baseline;
pub mod device;
pub mod error_text;
pub mod ids;
pub mod method;
pub mod metrics;
pub mod nearest;
pub mod network;
pub mod queue;
pub mod random;
pub mod record;
pub mod role;
pub mod segment;
pub mod semantics;
pub mod spec;
pub mod store;
pub mod telemetry;
pub mod wire;
pub mod work;
