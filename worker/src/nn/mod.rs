//! The networks, with the tensor names of the public checkpoints.

pub mod attention;
pub mod classifier;
pub mod conditioner;
pub mod config;
pub mod dropout;
pub mod embedding;
pub mod init;
pub mod mode;
pub mod norm;
pub mod pool;
pub mod recompute;
pub mod resblock;
pub mod sampling;
pub(crate) mod trunk;
pub mod unet;
pub mod weights;

pub use classifier::Classifier;
pub use dropout::Dropout;
pub use embedding::{ClassLabel, Labels};
pub use mode::{Activations, Mode, Module};
pub use unet::UNet;
