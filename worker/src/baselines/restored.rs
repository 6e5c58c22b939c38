//! A restored slice, and the anomaly map made of it.

use anofpdm_common::baseline::Setting;
use tch::{Device, Kind, Tensor};

use crate::method_error::NotFinite;
use crate::method_input::not_finite;

/// What a method makes of a batch at one setting.
#[derive(Debug)]
pub struct Restored {
    pub setting: Setting,
    /// Noised slices, where the way back begins: f32 `[N, C, H, W]`.
    pub latent: Tensor,
    /// Restored slices, f32 `[N, C, H, W]`.
    pub target: Tensor,
    /// What the anomaly map is made of.
    pub difference: Difference,
}

/// What the anomaly map is made of, channel by channel.
#[derive(Debug)]
pub enum Difference {
    /// (x0 - target)^2; the map is its mean over the scored modalities.
    Squared,
    /// A signed difference, f32 `[N, C, H, W]`; the map is its sum over the scored modalities. It can
    /// be negative.
    Signed(Tensor),
    /// A deviation that is never negative, f32 `[N, C, H, W]`; the map is its largest value over the
    /// scored modalities.
    Deviation(Tensor),
}

impl Restored {
    /// The same in host memory.
    #[must_use]
    pub fn on_host(self) -> Self {
        let host = |tensor: Tensor| tensor.to_device(Device::Cpu);
        Self {
            setting: self.setting,
            latent: host(self.latent),
            target: host(self.target),
            difference: match self.difference {
                Difference::Squared => Difference::Squared,
                Difference::Signed(difference) => Difference::Signed(host(difference)),
                Difference::Deviation(deviation) => Difference::Deviation(host(deviation)),
            },
        }
    }

    /// The anomaly map over `modalities` (channels of `x0`), before the median filter: f32
    /// `[N, 1, H, W]`.
    pub fn map(&self, x0: &Tensor, modalities: &[i64]) -> Tensor {
        let channels = Tensor::from_slice(modalities).to_device(x0.device());
        let chosen = |tensor: &Tensor| tensor.index_select(1, &channels);
        match &self.difference {
            Difference::Squared => {
                (chosen(x0) - chosen(&self.target))
                    .square()
                    .mean_dim(1_i64, true, Kind::Float)
            }
            Difference::Signed(values) => chosen(values).sum_dim_intlist(1_i64, true, Kind::Float),
            Difference::Deviation(values) => chosen(values).amax(1_i64, true),
        }
    }
}

impl Restored {
    /// Refuses a result with NaN or infinity in it.
    pub(super) fn finite(self) -> Result<Self, NotFinite> {
        let mut parts = vec![
            ("the latent", &self.latent),
            ("the restored image", &self.target),
        ];
        if let Difference::Signed(values) | Difference::Deviation(values) = &self.difference {
            parts.push(("the map", values));
        }
        for (what, tensor) in parts {
            if let Some(slice) = not_finite(tensor) {
                return Err(NotFinite {
                    what: what.to_owned(),
                    slice,
                    step: i64::from(self.setting.noise_scale),
                    guidance: self.setting.strength,
                });
            }
        }
        Ok(self)
    }
}
