//! What runs on a device. The only crate that links libtorch; its types never leave it.
//!
//! `docs/science.md` says where each equation, algorithm and table of the paper is computed.

pub mod anofpdm;
pub mod backend;
pub mod baselines;
pub mod cli;
pub mod collective;
pub mod diffusion;
pub mod engine;
pub mod exit;
pub mod host;
pub mod import;
pub mod method_error;
pub mod method_input;
pub mod nn;
pub mod nvml;
pub mod predict;
pub mod predictor;
pub mod shim;
#[cfg(test)]
mod stub_library;
pub mod tensors;
pub mod torch;
pub mod train;
pub mod usage;
pub mod worker_loop;
