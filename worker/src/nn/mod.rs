//! The networks, with the tensor names of the public checkpoints (SCIENCE 1, 9).
//!
//! | module | concept |
//! |---|---|
//! | [`init`] | how fresh weights are drawn |
//! | [`embedding`] | time and class embeddings |
//! | [`conditioner`] | what the layers are told of time and label |
//! | [`dropout`] | dropout from a generator of its own |
//! | [`norm`] | GroupNorm in float32 |
//! | [`recompute`] | blocks that are computed again in the backward pass |
//! | [`resblock`] | residual block with scale-shift conditioning |
//! | [`attention`] | self-attention, in v2 with class tokens |
//! | [`sampling`] | halving and doubling of feature maps |
//! | `trunk` | the half that all networks have |
//! | [`unet`] | the U-Nets v2 and v1 |
//! | [`pool`] | the attention pool of a classifier |
//! | [`classifier`] | the classifier and its gradient |
//! | [`config`] | configuration files |
//! | [`weights`] | checkpoint files |

pub mod attention;
pub mod classifier;
pub mod conditioner;
pub mod config;
pub mod dropout;
pub mod embedding;
pub mod init;
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
pub use recompute::Activations;
pub use unet::{Mode, Module, UNet};
