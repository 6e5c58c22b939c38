//! The networks on the device, kept between shards of the same weights.

use anofpdm_common::ids::Digest;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::work::NetworkPlan;
use tch::Device;

use crate::fake::FakeDevice;
use crate::methods::predictor::NoisePredictor;
use crate::nn::weights;

use super::failure::JobError;

/// A network on the device.
struct Model {
    weights: Digest,
    config: NetworkConfig,
    network: Box<dyn NoisePredictor>,
}

impl Model {
    fn is(&self, plan: &NetworkPlan) -> bool {
        self.weights == plan.weights && self.config == plan.config
    }
}

/// The networks of the shard at work.
pub(super) struct Models {
    device: Device,
    loaded: Vec<Model>,
}

impl Models {
    pub(super) const fn new(device: Device) -> Self {
        Self {
            device,
            loaded: Vec::new(),
        }
    }

    /// Where they are.
    pub(super) const fn device(&self) -> Device {
        self.device
    }

    /// Drops all networks, and with them most of the device's memory.
    pub(super) fn unload(&mut self) {
        self.loaded.clear();
    }

    /// The networks of `plans`, in any order; those that are not among them leave the device first, since more may
    /// not fit.
    pub(super) fn load(
        &mut self,
        plans: &[&NetworkPlan],
        artifacts: &ArtifactStore,
        fake: Option<&FakeDevice>,
    ) -> Result<&mut (dyn NoisePredictor + 'static), JobError> {
        self.loaded
            .retain(|model| plans.iter().any(|plan| model.is(plan)));
        for plan in plans {
            if !self.loaded.iter().any(|model| model.is(plan)) {
                let model = self.open(plan, artifacts, fake)?;
                self.loaded.push(model);
            }
        }
        let network = self.loaded.first_mut().map(|model| model.network.as_mut());
        network.ok_or_else(|| {
            JobError::text(ErrorClass::BadInput, "a shard without a noise predictor")
        })
    }

    fn open(
        &self,
        plan: &NetworkPlan,
        artifacts: &ArtifactStore,
        fake: Option<&FakeDevice>,
    ) -> Result<Model, JobError> {
        let bad = |error: weights::WeightsError| JobError::new(ErrorClass::BadInput, &error);
        let path = artifacts.verify(&plan.weights)?;
        let network: Box<dyn NoisePredictor> = match fake {
            Some(fake) => Box::new(fake.predictor(&plan.weights)),
            None => Box::new(
                weights::open_unet(&path, &plan.config, self.device).map_err(bad)?,
            ),
        };
        Ok(Model {
            weights: plan.weights,
            config: plan.config.clone(),
            network,
        })
    }
}
