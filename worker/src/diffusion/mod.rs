//! Diffusion: noise schedules, single steps, noise.
//!
//! Index words: index `i` counts kept steps from 0 and is the paper's `t = i + 1`.

pub mod noise;
pub mod noise_ahead;
pub mod reverse;
pub mod schedule;
pub mod simplex;
pub mod step;

pub use noise::NoiseSource;
pub use schedule::{Respacing, Schedule};
