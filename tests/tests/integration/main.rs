//! The real programs from outside, and the worker library beside reference tensors: one executable, linked once.

#![allow(clippy::unwrap_used)]

mod audits;
mod bench_command;
mod chaos;
mod compare_pictures;
mod control_commands;
mod gang_training;
mod log_context;
mod parity_anofpdm;
mod parity_baselines;
mod parity_network;
mod parity_schedules;
mod parity_simplex;
mod parity_trace;
mod predict;
mod predict_baselines;
mod predict_geometry;
mod predict_real;
mod predict_trace;
mod prometheus_page;
mod redis_secure_run;
mod run_bad_input;
mod run_end_to_end;
mod run_masks;
mod run_metrics;
mod run_precision;
mod run_survives_kills;
mod scale;
mod selftest_command;
mod table_methods;
mod trace_call;
mod trace_consistency;
mod worker_loop;
mod worker_metrics;
