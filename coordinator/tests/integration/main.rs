//! The command on arrays, the examples, and preprocessing beside that of the public code. None needs a worker.

#![allow(clippy::unwrap_used)]

mod examples_parse;
mod metrics_command;
mod metrics_memory;
mod parity_preprocess;
