//! Masks of whole volumes compared with the truth: those of any program, as NIfTI files.
//!
//! `pairs` matches files by name, `compare` reads one pair and counts, `maps` takes the scores of a pair's pixels (`scores`
//! is how they are kept), `evaluation` forms the numbers, `row` is what a report takes into its table.
//! `docs/statistics.md` defines every number.

pub mod compare;
pub mod evaluation;
pub mod maps;
pub mod pairs;
pub mod row;
pub mod scores;
pub mod table;

pub use compare::{ComparedVolume, VolumePairError};
pub use evaluation::VolumeEvaluation;
pub use pairs::{PairError, VolumePair, pairs, with_maps};
