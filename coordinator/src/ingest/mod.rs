//! From NIfTI volumes to a slice store, and volumes to try it on.
//!
//! `layouts` finds each subject's files, `volume` reads and orients them, `convert` turns one subject into slices
//! (`intensities` and `masks` refuse what is none, then `percentile`, `slices`), `preprocess` does so for a
//! whole set (`unplaced` looks at all headers first).

pub(crate) mod canvas;
pub mod convert;
mod head_share;
pub mod intensities;
pub mod labels;
pub mod layouts;
pub mod masks;
pub mod patient;
pub mod percentile;
pub mod phantom;
pub mod preprocess;
pub mod preview;
pub mod slices;
mod source_key;
pub mod split;
mod table_line;
pub mod unlabelled;
pub mod unplaced;
pub mod volume;

#[cfg(test)]
mod tests;
