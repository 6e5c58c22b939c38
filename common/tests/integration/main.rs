//! What needs neither another crate nor libtorch: the queue on every driver, a real Redis server, and the comparisons with
//! reference tensors.

#![allow(clippy::unwrap_used)]

mod parity_calibration;
mod parity_metrics;
mod parity_segment;
mod parity_tuning;
#[cfg(all(feature = "redis", feature = "serve"))]
mod queue_conformance;
#[cfg(all(feature = "redis", feature = "serve"))]
mod redis_access;
#[cfg(all(feature = "redis", feature = "serve"))]
mod redis_lanes;
#[cfg(all(feature = "redis", feature = "serve"))]
mod redis_refusals;
#[cfg(all(feature = "redis", feature = "serve"))]
mod redis_security;
