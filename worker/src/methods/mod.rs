//! The methods of the benchmark.
//!
//! | module | concept |
//! |---|---|
//! | [`predictor`] | what a method needs of its networks |
//! | `input` | what every method asks of a batch |
//! | [`trajectory`] | the noised inputs and the two predictions at each index |
//! | [`end_map`] | one anomaly map, snapshotted at each new maximum of M |
//! | [`end_ratio`] | the aggregated map at multiples of the end step |
//! | [`accumulator`] | everything one guidance strength keeps |
//! | [`segmentation`] | from the maps of a batch to its masks |
//! | [`anofpdm`] | one pass over a batch that serves every strength and map |
//! | [`restoration`] | methods that restore a slice and look at the difference |

pub mod accumulator;
pub mod anofpdm;
pub mod end_map;
pub mod end_ratio;
mod input;
pub mod predictor;
pub mod restoration;
pub mod segmentation;
pub mod trajectory;
