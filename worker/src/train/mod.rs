//! Training of the networks, on one device or several. What a network is for decides how.
//!
//! What a step sees depends on (seed, step) alone: the slices of its global batch, their t, noise
//! and label drop. Only the dropout masks also depend on the rank. So an interrupted run that goes
//! on from a checkpoint ends with the bits of an undisturbed one, and the batch can be divided
//! among any number of ranks.

pub mod checkpoint;
pub mod data;
pub mod ema;
pub mod error;
pub mod healthy;
mod learner;
pub mod loader;
pub mod loss;
mod mirror;
pub mod noise;
mod noising;
mod objective;
pub mod optimizer;
pub mod picture;
pub mod ranks;
pub mod request;
pub mod sampler;
pub mod samples_log;
mod scale;
mod speed;
mod steps;
pub mod store_slices;
pub mod timing;
pub mod trainer;
mod validation;
mod variance;

pub use checkpoint::Identity;
pub use data::{CACHE_BYTES, Cached, DataError, TrainingData};
pub use error::TrainError;
pub use healthy::HealthyOnly;
pub use ranks::Ranks;
pub use request::{Control, TrainOutcome, TrainProgress, TrainRequest};
pub use store_slices::StoreSlices;
pub use trainer::train;
