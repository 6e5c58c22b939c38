//! Loops over maps on a CPU that libtorch has no fast form of: slices in, slices out, without libtorch.
//!
//! Maps are channels-last. The loops are compiled for each width of vector instructions ([`pulp`]) and run on the
//! current pool of [`rayon`]; the bits depend neither on that width nor on the number of threads.

pub mod group_norm;
mod number;
pub mod winograd;

pub use half::bf16;
pub use number::{Number, Wide};
