//! The networks, with the tensor names of the public checkpoints (SCIENCE 1).
//!
//! | module | concept |
//! |---|---|
//! | [`init`] | how fresh weights are drawn |
//! | [`embedding`] | time and class conditioning |
//! | [`norm`] | GroupNorm in float32 |
//! | [`resblock`] | residual block with scale-shift conditioning |
//! | [`attention`] | self-attention with class tokens |
//! | [`sampling`] | halving and doubling of feature maps |
//! | [`unet`] | the whole network |
//! | [`config`] | configuration files |
//! | [`weights`] | checkpoint files |

pub mod attention;
pub mod config;
pub mod embedding;
pub mod init;
pub mod norm;
pub mod resblock;
pub mod sampling;
pub mod unet;
pub mod weights;

pub use embedding::{ClassLabel, Labels};
pub use unet::{Mode, Module, UNet};
