//! What runs on a device. The only crate that links libtorch; its types never leave it.
//!
//! | module | concept |
//! |---|---|
//! | [`torch`] | process set-up of libtorch: devices, threads, versions |
//! | [`tensors`] | named tensors in safetensors files |
//! | [`nn`] | the networks and their weights |
//! | [`bench_train`] | `anofpdm-worker bench-train`: how fast this machine trains |
//! | `clock` | time and memory, read |
//! | [`collective`] | ranks that train together |
//! | [`shim`] | what libtorch offers in C++ alone |
//! | [`diffusion`] | schedules, forward steps, noise |
//! | [`bench`](mod@bench) | `anofpdm-worker bench`: what a step of scoring takes |
//! | [`engine`] | fast inference |
//! | [`backend`] | what computes: libtorch, or what a test puts in its place |
//! | [`exit`] | how the program ends |
//! | [`import`] | `anofpdm-worker import`: public checkpoints |
//! | [`train`] | the training loop and its checkpoints |
//! | [`methods`] | the methods of the benchmark |
//! | [`trace`] | `anofpdm-worker trace`: one batch, everything visible |
//! | [`usage`] | command lines that cannot be used |
//! | [`worker_loop`] | jobs from the queue, run and reported |

pub mod backend;
pub mod bench;
pub mod bench_train;
mod clock;
pub mod collective;
pub mod diffusion;
pub mod engine;
pub mod exit;
pub mod import;
pub mod methods;
pub mod nn;
pub mod shim;
pub mod tensors;
pub mod torch;
pub mod trace;
pub mod train;
pub mod usage;
pub mod worker_loop;
