//! What a pass over a batch is to do, and what it yields.

use std::collections::BTreeMap;

use anofpdm_common::method::{Encoding, MapKind};
use anofpdm_common::semantics::Switches;
use tch::{Device, Tensor};

use super::end_ratio::RatioMap;
use super::maps::AnomalyMap;
use super::trajectory::ForwardTrajectory;
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;
use crate::method_input::{check_batch, check_modalities, check_noise};

#[derive(Debug, Clone, Copy)]
pub struct ForwardPass<'a> {
    pub schedule: &'a Schedule,
    pub switches: Switches,
    pub encoding: Encoding,
    /// Forward steps K, in kept indices.
    pub steps: usize,
    /// Guidance strengths w, each finite and not negative.
    pub guidance: &'a [f64],
    /// Channels that maps are made of.
    pub modalities: &'a [i64],
    /// Maps wanted of every strength.
    pub maps: &'a [MapKind],
    /// Multiples of the end step at which the aggregated map is wanted too.
    pub end_step_ratios: &'a [f64],
    /// Indices at which inputs and predictions are kept whole.
    pub keep: &'a [usize],
    /// Lesion mask, 0 or 1, `[N, 1, H, W]`: adds the sums of S inside and outside. Evaluation only.
    pub lesion: Option<&'a Tensor>,
}

/// What a pass yields.
#[derive(Debug)]
pub struct ForwardResult {
    /// One entry a guidance strength, in the order asked.
    pub guidance: Vec<StrengthResult>,
    /// MSE^null (Eq. 16), f32 `[N, K, m]`.
    pub mse_null: Tensor,
    /// Kept indices, in the order of the walk.
    pub kept: Vec<KeptStep>,
    /// Network evaluations: one slice through the network once.
    pub evaluations: u64,
}

#[derive(Debug)]
pub struct StrengthResult {
    pub guidance: f64,
    /// M_t (Eq. 12), f32 `[N, K, m]`.
    pub divergence: Tensor,
    /// MSE^h (Eq. 14), f32 `[N, K, m]`.
    pub mse_h: Tensor,
    /// First argmax of M over the index (Eq. 21), i64 `[N, m]`.
    pub t_e: Tensor,
    /// M at t_e, f32 `[N, m]`.
    pub peak: Tensor,
    /// Where the maps are NaN by definition (t_e = 0, end step excluded), bool `[N, m]`.
    pub undefined: Tensor,
    pub maps: BTreeMap<MapKind, AnomalyMap>,
    /// The aggregated map at multiples of the end step.
    pub ratio_maps: Vec<RatioMap>,
    /// Sum of S inside the lesion and outside, f64 `[N, K, m]` each; with a lesion mask only.
    pub lesion: Option<(Tensor, Tensor)>,
}

#[derive(Debug)]
pub struct KeptStep {
    pub index: usize,
    /// Noised input, f32 `[N, C, H, W]`.
    pub x: Tensor,
    /// UGP (Eq. 10), f32 `[N, m, H, W]`.
    pub ugp: Tensor,
    /// HGP (Eq. 7) of every strength, each f32 `[N, m, H, W]`.
    pub hgp: Vec<Tensor>,
}

impl ForwardResult {
    /// The same in host memory, where any thread may read it.
    #[must_use]
    pub fn on_host(self) -> Self {
        let guidance = self.guidance.into_iter().map(StrengthResult::on_host);
        let kept = self.kept.into_iter().map(KeptStep::on_host);
        Self {
            guidance: guidance.collect(),
            mse_null: self.mse_null.to_device(Device::Cpu),
            kept: kept.collect(),
            evaluations: self.evaluations,
        }
    }
}

impl KeptStep {
    fn on_host(self) -> Self {
        let host = |tensor: Tensor| tensor.to_device(Device::Cpu);
        Self {
            index: self.index,
            x: host(self.x),
            ugp: host(self.ugp),
            hgp: self.hgp.into_iter().map(host).collect(),
        }
    }
}

impl StrengthResult {
    /// The same in host memory.
    fn on_host(self) -> Self {
        let host = |tensor: Tensor| tensor.to_device(Device::Cpu);
        let maps = self.maps.into_iter();
        let ratio_maps = self.ratio_maps.into_iter();
        Self {
            guidance: self.guidance,
            divergence: host(self.divergence),
            mse_h: host(self.mse_h),
            t_e: host(self.t_e),
            peak: host(self.peak),
            undefined: host(self.undefined),
            maps: maps.map(|(kind, map)| (kind, map.on_host())).collect(),
            ratio_maps: ratio_maps
                .map(|ratio| RatioMap {
                    ratio: ratio.ratio,
                    end: host(ratio.end),
                    map: host(ratio.map),
                })
                .collect(),
            lesion: self
                .lesion
                .map(|(inside, outside)| (host(inside), host(outside))),
        }
    }
}

impl ForwardPass<'_> {
    /// Whether the settings fit each other and the batch.
    pub(super) fn validate(&self, x0: &Tensor, noise: &NoiseSource) -> Result<(), MethodError> {
        let fail = |message: String| Err(MethodError::Invalid(message));
        let shape = check_batch(x0)?;
        let [slices, channels, height, width] = shape;
        if self.steps == 0 || self.steps > self.schedule.len() {
            return fail(format!(
                "{} forward steps asked for, the schedule has {}",
                self.steps,
                self.schedule.len()
            ));
        }
        if self.guidance.is_empty() {
            return fail("at least one guidance strength is needed".to_owned());
        }
        if let Some(w) = self.guidance.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return fail(format!("guidance strength {w}: it must be a number >= 0"));
        }
        if let Some(r) = self
            .end_step_ratios
            .iter()
            .find(|r| !r.is_finite() || **r <= 0.0)
        {
            return fail(format!("end-step ratio {r}: it must be a number > 0"));
        }
        check_modalities(self.modalities, channels)?;
        if let Some(index) = self.keep.iter().find(|index| **index >= self.steps) {
            return fail(format!(
                "step {index} to keep: the last index is {}",
                self.steps - 1
            ));
        }
        let lesion = self.lesion.map(Tensor::size);
        let wanted = [slices, 1, height, width];
        if let Some(lesion) = lesion.filter(|lesion| *lesion != wanted) {
            return fail(format!(
                "the lesion mask is {lesion:?}: it must be {wanted:?}"
            ));
        }
        let needed = ForwardTrajectory::noise_needed(self.encoding, self.steps);
        let walk = format!("{} encoding of {} steps", self.encoding.name(), self.steps);
        check_noise(noise, shape, needed, &walk)
    }
}
