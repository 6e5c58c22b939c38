//! Training of the networks on one device (SCIENCE 7, 9). What a network is for decides how.
//!
//! What a step sees depends on (seed, step) alone: the slices of its global batch, their t, noise
//! and label drop. Only the dropout masks also depend on the rank. So an interrupted run that goes
//! on from a checkpoint ends with the bits of an undisturbed one, and the batch can be divided
//! among any number of ranks.
//!
//! | module | concept |
//! |---|---|
//! | [`sampler`] | which slice, t and label stand where in a global batch |
//! | [`noise`] | the noise of a sample, Gaussian or simplex |
//! | [`data`] | what the trainer asks of training slices, and a cache |
//! | [`store_slices`] | training slices out of a slice store |
//! | [`healthy`] | those of them without lesion |
//! | [`loader`] | batches prepared ahead on a thread of their own |
//! | `objective` | the loss of each role |
//! | `variance` | the loss of a learned variance |
//! | [`optimizer`] | AdamW with state that can be saved |
//! | [`ema`] | moving average of the weights |
//! | [`loss`] | recent loss and loss curve |
//! | [`checkpoint`] | checkpoint folders, whole or absent |
//! | [`trainer`] | the loop |

pub mod checkpoint;
pub mod data;
pub mod ema;
pub mod healthy;
pub mod loader;
pub mod loss;
pub mod noise;
mod objective;
pub mod optimizer;
pub mod sampler;
pub mod store_slices;
pub mod trainer;
mod variance;

pub use checkpoint::Identity;
pub use data::{CACHE_BYTES, Cached, DataError, TrainingData};
pub use healthy::HealthyOnly;
pub use store_slices::StoreSlices;
pub use trainer::{Control, TrainError, TrainOutcome, TrainProgress, TrainRequest, train};
