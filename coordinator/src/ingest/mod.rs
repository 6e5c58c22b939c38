//! From NIfTI volumes to a slice store, as SCIENCE 8 says; and volumes to try it on.
//!
//! `layouts` finds each subject's files, `volume` reads and orients them, `convert` turns one subject into slices
//! (`percentile`, `slices`, `resize`), `preprocess` does so for a whole set.

pub mod convert;
pub mod labels;
pub mod layouts;
pub mod percentile;
pub mod phantom;
pub mod preprocess;
pub mod preview;
pub mod resize;
pub mod slices;
pub mod split;
pub mod volume;

#[cfg(test)]
mod sides;
