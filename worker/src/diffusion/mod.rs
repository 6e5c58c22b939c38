//! Diffusion: noise schedules, single steps, noise.
//!
//! Index words: index `i` counts kept steps from 0 and is the paper's `t = i + 1`.
//!
//! | module | concept |
//! |---|---|
//! | [`schedule`] | betas, alpha_bar, strided schedules |
//! | [`step`] | Eq. 2, 4, 7 and 10 |
//! | [`reverse`] | DDIM and ancestral steps down |
//! | [`noise`] | the counter-based generator and given noise |
//! | [`simplex`] | the noise of AnoDDPM |

pub mod noise;
pub mod reverse;
pub mod schedule;
pub mod simplex;
pub mod step;

pub use noise::NoiseSource;
pub use schedule::{Respacing, Schedule};
