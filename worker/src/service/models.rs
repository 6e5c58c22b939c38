//! The networks on the device, kept between shards of the same weights.

use anofpdm_common::ids::Digest;
use anofpdm_common::network::{Arch, NetworkConfig};
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::Precision;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::work::NetworkPlan;
use tch::{Device, Kind};

use crate::engine::{self, precision};
use crate::fake::FakeDevice;
use crate::nn::weights;
use crate::predictor::{LabelGuide, NoisePredictor};

use super::failure::JobError;

/// What a network can be asked.
enum Network {
    Noise(Box<dyn NoisePredictor>),
    Label(Box<dyn LabelGuide>),
}

/// A network on the device.
struct Model {
    weights: Digest,
    config: NetworkConfig,
    network: Network,
}

impl Model {
    fn is(&self, plan: &NetworkPlan) -> bool {
        self.weights == plan.weights && self.config == plan.config
    }
}

/// The networks of the shard at work.
pub(super) struct Models {
    device: Device,
    /// What the loaded U-Nets compute in; a classifier, whose gradient is wanted, is always in float32.
    kind: Kind,
    loaded: Vec<Model>,
}

/// What a method is computed with.
pub(super) struct Networks<'a> {
    /// The network that predicts noise.
    pub(super) noise: &'a mut (dyn NoisePredictor + 'a),
    /// The classifier, where the method has one.
    pub(super) label: Option<&'a mut (dyn LabelGuide + 'a)>,
}

impl Models {
    pub(super) const fn new(device: Device) -> Self {
        Self {
            device,
            kind: Kind::Float,
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
    /// not fit. U-Nets compute in `precision`, and so does this process until the next call.
    ///
    /// # Errors
    /// When a file is not there or does not fit, or the device does not compute in `precision`.
    pub(super) fn load(
        &mut self,
        plans: &[&NetworkPlan],
        precision: Precision,
        artifacts: &ArtifactStore,
        fake: Option<&FakeDevice>,
    ) -> Result<Networks<'_>, JobError> {
        let kind = precision::set(precision, self.device)
            .map_err(|error| JobError::new(ErrorClass::BadInput, &error))?;
        if kind != self.kind {
            self.unload();
            self.kind = kind;
        }
        self.loaded
            .retain(|model| plans.iter().any(|plan| model.is(plan)));
        for plan in plans {
            if !self.loaded.iter().any(|model| model.is(plan)) {
                let model = self.open(plan, artifacts, fake)?;
                self.loaded.push(model);
            }
        }
        let mut noise: Option<&mut dyn NoisePredictor> = None;
        let mut label: Option<&mut dyn LabelGuide> = None;
        for model in &mut self.loaded {
            match &mut model.network {
                Network::Noise(network) => noise = Some(&mut **network),
                Network::Label(network) => label = Some(&mut **network),
            }
        }
        let noise = noise.ok_or_else(|| {
            JobError::text(ErrorClass::BadInput, "a shard without a noise predictor")
        })?;
        Ok(Networks { noise, label })
    }

    fn open(
        &self,
        plan: &NetworkPlan,
        artifacts: &ArtifactStore,
        fake: Option<&FakeDevice>,
    ) -> Result<Model, JobError> {
        let bad = |error: weights::WeightsError| JobError::new(ErrorClass::BadInput, &error);
        let path = artifacts.verify(&plan.weights)?;
        let network = match (plan.config.arch, fake) {
            (Arch::V1 | Arch::V2, Some(fake)) => {
                Network::Noise(Box::new(fake.predictor(&plan.weights)))
            }
            (Arch::Classifier, Some(fake)) => Network::Label(Box::new(fake.guide(&plan.weights))),
            (Arch::V1 | Arch::V2, None) => Network::Noise(Box::new(
                engine::open(&path, &plan.config, self.device, self.kind).map_err(bad)?,
            )),
            (Arch::Classifier, None) => Network::Label(Box::new(
                weights::open_classifier(&path, &plan.config, self.device).map_err(bad)?,
            )),
        };
        Ok(Model {
            weights: plan.weights,
            config: plan.config.clone(),
            network,
        })
    }
}
