//! A worker whose networks are cheap deterministic arithmetic on the CPU: the backend of `anofpdm-fake-worker`.
//!
//! Everything around the networks is the product's: forward pass, scoring, records, leases, the waiting of ranks for each
//! other. So whole-program tests and drills run in milliseconds, and the faults a fleet knows can be asked for
//! ([`faults`]). The numeric profile says `fake`: such results never mix with others.

pub mod faults;
mod guide;
mod predictor;
mod weights;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_common::ids::Digest;
use anofpdm_common::instance::unique_instance_id;
use anofpdm_common::network::Arch;
use anofpdm_common::plan::NetworkPlan;
use anofpdm_common::spec::Precision;
use anofpdm_common::store::durable;
use anofpdm_worker::backend::{Backend, BackendError, OpenNetwork, RecordHook};
use anofpdm_worker::collective::{CollectiveError, Group, Membership, Rendezvous};
use anofpdm_worker::engine::precision;
use anofpdm_worker::train::checkpoint::CheckpointError;
use anofpdm_worker::train::{Control, TrainError, TrainOutcome, TrainProgress, TrainRequest};
use tch::{Device, Kind};

use faults::{FaultSpec, InjectedFaults};
use guide::FakeGuide;
use predictor::FakePredictor;

/// The program.
pub const PROGRAM: &str = "anofpdm-fake-worker";

/// The kind of device in the numeric profile.
const DEVICE_CLASS: &str = "fake";

/// The device of one worker process.
#[derive(Debug)]
pub struct FakeBackend {
    /// This start of this worker: no two draw the same faults.
    start: String,
    /// Duration of one network evaluation or training step.
    delay: Duration,
    faults: InjectedFaults,
}

/// What the weights do to the arithmetic: a number from 0.4 to 0.65.
fn gain(weights: &Digest) -> f64 {
    let first = blake3::hash(weights.to_string().as_bytes());
    0.4 + f64::from(first.as_bytes()[0]) / 1024.0
}

impl FakeBackend {
    /// A device with the faults of `spec`.
    pub fn new(spec: &FaultSpec) -> Self {
        let start = unique_instance_id();
        Self {
            delay: spec.delay,
            faults: InjectedFaults::new(spec.clone(), &start),
            start,
        }
    }

    fn pause(&self) {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }
}

impl Backend for FakeBackend {
    fn device(&self) -> Device {
        Device::Cpu
    }

    fn device_class(&self) -> String {
        DEVICE_CLASS.to_owned()
    }

    /// The formats of a CPU, so that a plan for another is refused.
    fn set_precision(&mut self, precision: Precision) -> Result<Kind, BackendError> {
        Ok(precision::set(precision, Device::Cpu)?)
    }

    /// The file is not read.
    fn open(
        &mut self,
        plan: &NetworkPlan,
        _weights: &Path,
        _kind: Kind,
    ) -> Result<OpenNetwork, BackendError> {
        Ok(match plan.config.arch {
            Arch::V1 | Arch::V2 => {
                OpenNetwork::Noise(Box::new(FakePredictor::new(&plan.weights, self.delay)))
            }
            Arch::Classifier => {
                OpenNetwork::Label(Box::new(FakeGuide::new(&plan.weights, self.delay)))
            }
        })
    }

    fn free_memory(&mut self) {
        self.faults.free_memory();
    }

    /// May end the process, panic as libtorch does, or fail.
    fn before_batch(&mut self) -> Result<Option<RecordHook>, BackendError> {
        let faults = self
            .faults
            .begin_batch()
            .map_err(|error| BackendError::Transient(Box::new(error)))?;
        Ok(Some(Box::new(move |record| faults.corrupt(record))))
    }

    fn connect(
        &self,
        _membership: Membership,
        _rendezvous: Arc<dyn Rendezvous>,
        _address: &str,
    ) -> Result<Option<Arc<Group>>, CollectiveError> {
        Ok(None)
    }

    /// Trains nothing, step by step, and leaves weights that depend on the plan alone.
    fn train(
        &mut self,
        request: &TrainRequest<'_>,
        observe: &mut dyn FnMut(&TrainProgress) -> Control,
    ) -> Result<TrainOutcome, TrainError> {
        let steps = request.train.steps;
        let began = Instant::now();
        // Beside the checkpoints, where nothing takes it for one.
        let ema = request
            .checkpoints
            .join(format!("{}.safetensors", self.start));
        let mut outcome = TrainOutcome {
            step: 0,
            loss: 0.0,
            curve: Vec::new(),
            validation: Vec::new(),
            best: None,
            images_per_second: 0.0,
            checkpoint: request.checkpoints.to_owned(),
            ema,
        };
        while outcome.step < steps {
            self.pause();
            outcome.step += 1;
            let control = observe(&TrainProgress {
                step: outcome.step,
                steps,
                loss: outcome.loss,
                images_per_second: outcome.images_per_second,
                took: self.delay,
                summing: Duration::ZERO,
                samples: 0,
                saved: began,
                interlude: false,
            });
            if control == Control::Stop && outcome.step < steps {
                return Ok(outcome);
            }
        }
        durable::create_dir(request.checkpoints)
            .and_then(|()| durable::write(&outcome.ema, &weights::trained(&request.identity.spec)))
            .map_err(CheckpointError::from)?;
        Ok(outcome)
    }
}
