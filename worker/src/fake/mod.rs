//! `--device fake`: a CPU device for drills, with cheap deterministic arithmetic in place of the networks.
//!
//! Everything around the network is the real thing: forward pass, scoring, records, leases. So queue,
//! coordinator and whole-program drills run in milliseconds, and the faults a fleet knows can be asked for
//! ([`faults`]). The numeric profile says `fake`: such results never mix with others.
//!
//! | module | concept |
//! |---|---|
//! | [`faults`] | which faults are injected, and when |
//! | [`guide`] | arithmetic in place of the classifier |
//! | [`predictor`] | arithmetic in place of the U-Net |
//! | [`weights`] | what a fake training leaves behind |

pub mod faults;
pub mod guide;
pub mod predictor;
pub mod weights;

use std::time::Duration;

use anofpdm_common::ids::Digest;

use faults::{BatchFaults, FaultSpec, InjectedError, InjectedFaults};
use guide::FakeGuide;
use predictor::FakePredictor;

/// Name of the device on the command line and in the numeric profile.
pub const DEVICE: &str = "fake";

/// The device of one worker process.
#[derive(Debug)]
pub struct FakeDevice {
    delay: Duration,
    faults: InjectedFaults,
}

/// What the weights do to the arithmetic: a number from 0.4 to 0.65.
fn gain(weights: &Digest) -> f64 {
    let first = blake3::hash(weights.to_string().as_bytes());
    0.4 + f64::from(first.as_bytes()[0]) / 1024.0
}

impl FakeDevice {
    /// A device with the faults of `spec`; `worker` names this start of this worker, so that no two draw the
    /// same faults.
    pub fn new(spec: &FaultSpec, worker: &str) -> Self {
        Self {
            delay: spec.delay,
            faults: InjectedFaults::new(spec.clone(), worker),
        }
    }

    /// The network with these weights. The file is not read.
    pub fn predictor(&self, weights: &Digest) -> FakePredictor {
        FakePredictor::new(weights, self.delay)
    }

    /// The classifier with these weights. The file is not read.
    pub fn guide(&self, weights: &Digest) -> FakeGuide {
        FakeGuide::new(weights, self.delay)
    }

    /// Duration of one network evaluation.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Begins the next batch: may end the process, panic as libtorch does, or fail.
    ///
    /// # Errors
    /// The error that was asked for.
    ///
    /// # Panics
    /// When out of memory or a lost device was asked for.
    pub fn begin_batch(&mut self) -> Result<BatchFaults, InjectedError> {
        self.faults.begin_batch()
    }
}
