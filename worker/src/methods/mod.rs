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
//! | [`agreement`] | how far the results of two number formats are apart |
//! | [`anofpdm`] | one pass over a batch that serves every strength and map |
//! | [`restoration`] | methods that restore a slice and look at the difference |
//! | [`ddim_encoding`] | x0 up to a noise level without noise |
//! | `guided_step` | the step of classifier guidance |
//! | `anoddpm` | AnoDDPM, Gaussian and simplex |
//! | `ddim_classifier` | DDIM with a classifier's gradient |
//! | `ddim_clf_free` | DDIM with classifier-free guidance |
//! | `cg_cdm` | CG-CDM, a finite difference in the label |
//! | `andi` | ANDi, a geometric mean over the steps |
//! | [`baseline`] | all of these by name |

pub mod accumulator;
pub mod agreement;
mod andi;
mod anoddpm;
pub mod anofpdm;
pub mod baseline;
mod cg_cdm;
mod ddim_classifier;
mod ddim_clf_free;
pub mod ddim_encoding;
pub mod end_map;
pub mod end_ratio;
mod guided_step;
pub(crate) mod input;
pub mod predictor;
pub mod restoration;
pub mod segmentation;
mod step_trace;
pub mod trajectory;
