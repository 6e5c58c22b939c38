//! The networks of this crate, on a device of libtorch.

use std::path::Path;
use std::sync::Arc;

use anofpdm_common::network::Arch;
use anofpdm_common::plan::NetworkPlan;
use anofpdm_common::spec::Precision;
use tch::{Device, Kind};

use super::{Backend, BackendError, OpenNetwork};
use crate::collective::gloo::{self, Listen};
use crate::collective::{CollectiveError, Group, Membership, Rendezvous, Timeouts, nccl};
use crate::engine::{self, precision};
use crate::nn::weights;
use crate::shim::numerics;
use crate::torch;
use crate::train::{self, Control, TrainError, TrainOutcome, TrainProgress, TrainRequest};

/// A device of libtorch: the CPU or a GPU.
#[derive(Debug, Clone, Copy)]
pub struct LibtorchBackend {
    device: Device,
}

impl LibtorchBackend {
    /// Of a device that was [opened](crate::torch::DeviceSpec::open).
    pub const fn new(device: Device) -> Self {
        Self { device }
    }
}

impl Backend for LibtorchBackend {
    fn device(&self) -> Device {
        self.device
    }

    fn device_class(&self) -> String {
        torch::device_class(self.device)
    }

    fn set_precision(&mut self, precision: Precision) -> Result<Kind, BackendError> {
        Ok(precision::set(precision, self.device)?)
    }

    /// A classifier, whose gradient is wanted, is always in float32.
    fn open(
        &mut self,
        plan: &NetworkPlan,
        weights: &Path,
        kind: Kind,
    ) -> Result<OpenNetwork, BackendError> {
        Ok(match plan.config.arch {
            Arch::V1 | Arch::V2 => OpenNetwork::Noise(Box::new(engine::open(
                weights,
                &plan.config,
                self.device,
                kind,
            )?)),
            Arch::Classifier => OpenNetwork::Label(Box::new(weights::open_classifier(
                weights,
                &plan.config,
                self.device,
            )?)),
        })
    }

    fn free_memory(&mut self) {
        if let Err(error) = numerics::free_kept_memory(self.device) {
            tracing::warn!(%error, "the memory that libtorch keeps cannot be freed");
        }
    }

    /// NCCL between GPUs, Gloo between CPUs.
    fn connect(
        &self,
        membership: Membership,
        rendezvous: Arc<dyn Rendezvous>,
        address: &str,
    ) -> Result<Option<Arc<Group>>, CollectiveError> {
        let timeouts = Timeouts::default();
        let group = match self.device {
            Device::Cuda(_) => nccl::connect(membership, rendezvous, timeouts, self.device)?,
            _ => {
                let listen = Listen::Host(address.to_owned());
                gloo::connect(membership, rendezvous, timeouts, &listen)?
            }
        };
        Ok(Some(Arc::new(group)))
    }

    fn train(
        &mut self,
        request: &TrainRequest<'_>,
        observe: &mut dyn FnMut(&TrainProgress) -> Control,
    ) -> Result<TrainOutcome, TrainError> {
        train::train(request, observe)
    }
}
