//! What runs on a device. The only crate that links libtorch; its types never leave it.
//!
//! `docs/science.md` says where each equation, algorithm and table of the paper is computed.

pub mod cli;
pub mod collective;
pub mod diffusion;
pub mod engine;
pub mod fake;
pub mod import;
pub mod methods;
pub mod nn;
pub mod service;
pub mod shim;
pub mod tensors;
pub mod torch;
pub mod train;
pub mod usage;
