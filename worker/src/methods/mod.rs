//! The methods of the benchmark.
//!
//! | module | concept |
//! |---|---|
//! | [`predictor`] | what a method needs of a network |
//! | [`trajectory`] | the noised inputs and the two predictions at each index |
//! | [`end_map`] | one anomaly map, snapshotted at each new maximum of M |
//! | [`end_ratio`] | the aggregated map at multiples of the end step |
//! | [`accumulator`] | everything one guidance strength keeps |
//! | [`segmentation`] | from the maps of a batch to its masks |
//! | [`anofpdm`] | one pass over a batch that serves every strength and map |

pub mod accumulator;
pub mod anofpdm;
pub mod end_map;
pub mod end_ratio;
pub mod predictor;
pub mod segmentation;
pub mod trajectory;
