//! Training of the networks, on one device or several (SCIENCE 7, 9). What a network is for decides how.
//!
//! What a step sees depends on (seed, step) alone: the slices of its global batch, their t, noise
//! and label drop. Only the dropout masks also depend on the rank. So an interrupted run that goes
//! on from a checkpoint ends with the bits of an undisturbed one, and the batch can be divided
//! among any number of ranks.
//!
//! | module | concept |
//! |---|---|
//! | [`sampler`] | which slice, t and label stand where in a global batch |
//! | `mirror` | left and right of a slice exchanged |
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
//! | [`samples_log`] | which slices every step was trained on |
//! | [`ranks`] | shares of a batch, and what ranks tell each other |
//! | `noising` | the forward process with a time for each sample |
//! | `scale` | loss scaling for float16 |
//! | `learner` | what a step changes |
//! | `validation` | loss on slices that are not trained on |
//! | [`picture`] | pictures of what the network makes of noise |
//! | `steps` | one step after another |
//! | [`timing`] | how long steps take |
//! | `speed` | images a second |
//! | [`error`] | why training fails |
//! | [`trainer`] | the loop |

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
pub use store_slices::StoreSlices;
pub use trainer::{Control, TrainOutcome, TrainProgress, TrainRequest, train};
