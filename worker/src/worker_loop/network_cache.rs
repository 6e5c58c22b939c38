//! The networks on the device, kept between shards of the same weights.

use anofpdm_common::ids::Digest;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::plan::NetworkPlan;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::Precision;
use anofpdm_common::store::artifacts::ArtifactStore;
use tch::{Device, Kind};

use crate::backend::{Backend, OpenNetwork};
use crate::predictor::{LabelGuide, NoisePredictor};

use super::job_error::JobError;

/// A network on the device.
struct CachedNetwork {
    weights: Digest,
    config: NetworkConfig,
    network: OpenNetwork,
}

impl CachedNetwork {
    fn is(&self, plan: &NetworkPlan) -> bool {
        self.weights == plan.weights && self.config == plan.config
    }
}

/// The backend, and the networks that it has opened for the shard at work.
pub(super) struct NetworkCache {
    backend: Box<dyn Backend>,
    /// What the loaded U-Nets compute in.
    kind: Kind,
    loaded: Vec<CachedNetwork>,
}

/// What a method is computed with.
pub(super) struct Networks<'a> {
    /// The network that predicts noise.
    pub(super) noise: &'a mut (dyn NoisePredictor + 'a),
    /// The classifier, where the method has one.
    pub(super) label: Option<&'a mut (dyn LabelGuide + 'a)>,
    /// What has opened them.
    pub(super) backend: &'a mut (dyn Backend + 'a),
}

impl NetworkCache {
    pub(super) const fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            kind: Kind::Float,
            loaded: Vec::new(),
        }
    }

    pub(super) fn device(&self) -> Device {
        self.backend.device()
    }

    /// Drops all networks, and with them most of the device's memory.
    pub(super) fn unload(&mut self) {
        self.loaded.clear();
    }

    /// The same, and the memory that the device would have kept.
    pub(super) fn free_memory(&mut self) {
        self.unload();
        self.backend.free_memory();
    }

    /// The backend alone, with the whole memory of its device.
    pub(super) fn unloaded_backend(&mut self) -> &mut dyn Backend {
        self.unload();
        self.backend.as_mut()
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
    ) -> Result<Networks<'_>, JobError> {
        let kind = self.backend.set_precision(precision)?;
        if kind != self.kind {
            self.unload();
            self.kind = kind;
        }
        self.loaded
            .retain(|cached| plans.iter().any(|plan| cached.is(plan)));
        for plan in plans {
            if !self.loaded.iter().any(|cached| cached.is(plan)) {
                let weights = artifacts.verify(&plan.weights)?;
                self.loaded.push(CachedNetwork {
                    weights: plan.weights,
                    config: plan.config.clone(),
                    network: self.backend.open(plan, &weights, kind)?,
                });
            }
        }
        let mut noise: Option<&mut dyn NoisePredictor> = None;
        let mut label: Option<&mut dyn LabelGuide> = None;
        for cached in &mut self.loaded {
            match &mut cached.network {
                OpenNetwork::Noise(network) => noise = Some(&mut **network),
                OpenNetwork::Label(network) => label = Some(&mut **network),
            }
        }
        let noise = noise.ok_or_else(|| {
            JobError::text(ErrorClass::BadInput, "a shard without a noise predictor")
        })?;
        Ok(Networks {
            noise,
            label,
            backend: self.backend.as_mut(),
        })
    }
}
