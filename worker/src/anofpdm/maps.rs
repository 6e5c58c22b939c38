//! The anomaly maps of one guidance strength: single maps S_t (Eq. 19), the aggregated map H (Eq. 20), and those of Table 3.
//!
//! The end step t_e is the first maximum of M, known only after the last step. A snapshot at every
//! new maximum gives the same map without keeping the steps: memory does not grow with them.

use std::collections::BTreeMap;

use anofpdm_common::method::MapKind;
use anofpdm_common::semantics::Aggregation;
use tch::{Device, Kind, Tensor};

use super::averaged_steps::{averaged_steps, spread};
use super::end_ratio::{EndRatioMaps, RatioMap};
use super::step_trace::first_not_finite;
use crate::method_error::NotFinite;

/// What one step contributes to the maps, f32 `[N, m, H, W]`.
#[derive(Debug)]
pub struct SingleMaps {
    /// S_t = (HGP - x0)^2.
    pub squared_error: Tensor,
    /// (HGP - UGP)^2.
    pub squared_difference: Tensor,
    /// B_t (1 + w).
    gradient_factor: f64,
}

impl SingleMaps {
    /// From HGP, UGP and x0, f32 `[N, m, H, W]`, at a step whose B_t is `b_t`, for guidance strength `w`.
    pub fn new(hgp: &Tensor, ugp: &Tensor, x0: &Tensor, b_t: f64, w: f64) -> Self {
        Self {
            // Eq. 19.
            squared_error: (hgp - x0).square(),
            squared_difference: (hgp - ugp).square(),
            gradient_factor: b_t * (1.0 + w),
        }
    }

    fn of(&self, kind: MapKind) -> Tensor {
        match kind {
            MapKind::Aam | MapKind::Ste => self.squared_error.shallow_clone(),
            MapKind::GradientWeighted => self.squared_difference.shallow_clone(),
            MapKind::Gradient | MapKind::GradientTe => self.squared_gradient(),
        }
    }

    /// Table 3: the gradient of log p(h | x_t) is (HGP - UGP) / (B_t (1 + w)) (Eq. 13).
    pub fn squared_gradient(&self) -> Tensor {
        &self.squared_difference / (self.gradient_factor * self.gradient_factor)
    }
}

/// Whether a map is the mean of all steps up to the end, or the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Mean,
    Last,
}

const fn pooling(kind: MapKind) -> Pooling {
    match kind {
        MapKind::Aam | MapKind::Gradient | MapKind::GradientWeighted => Pooling::Mean,
        MapKind::Ste | MapKind::GradientTe => Pooling::Last,
    }
}

#[derive(Debug)]
pub struct AnomalyMap {
    /// f32 `[N, m, H, W]`. NaN where no step is averaged (t_e = 0 with the end step excluded).
    pub map: Tensor,
    /// What index 0 contributed, f32 `[N, m, H, W]`: stands in for a NaN map. Present where the
    /// semantics can leave a map undefined.
    pub first: Option<Tensor>,
}

impl AnomalyMap {
    /// The same in host memory.
    #[must_use]
    pub(super) fn on_host(self) -> Self {
        Self {
            map: self.map.to_device(Device::Cpu),
            first: self.first.map(|first| first.to_device(Device::Cpu)),
        }
    }

    /// The map with index 0 in place of undefined entries: what a scoring run stores.
    pub fn defined(&self) -> Tensor {
        match &self.first {
            None => self.map.shallow_clone(),
            Some(first) => first.where_self(&self.map.isnan(), &self.map),
        }
    }
}

/// All maps of one guidance strength while the walk goes on.
#[derive(Debug)]
pub struct AggregatedMaps {
    aggregation: Aggregation,
    maps: Vec<RunningMap>,
    ratios: EndRatioMaps,
}

impl AggregatedMaps {
    /// The maps `kinds`, and the aggregated map at `end_step_ratios` times the end step; `like` is f32 `[N, m, H, W]`.
    pub fn new(
        kinds: &[MapKind],
        end_step_ratios: &[f64],
        aggregation: Aggregation,
        like: &Tensor,
    ) -> Self {
        let map = |kind: &MapKind| RunningMap::new(*kind, aggregation, like);
        Self {
            aggregation,
            maps: kinds.iter().map(map).collect(),
            ratios: EndRatioMaps::new(end_step_ratios, aggregation, like),
        }
    }

    /// The next step; `new_maximum` (bool `[N, m]`) is where M reached a new maximum at it.
    pub fn push(&mut self, step: &SingleMaps, new_maximum: &Tensor) {
        let pixels = new_maximum.unsqueeze(-1).unsqueeze(-1);
        for map in &mut self.maps {
            map.push(step, &pixels);
        }
        self.ratios.push(&step.squared_error, new_maximum);
    }

    /// The maps for end steps `t_e` (i64 `[N, m]`).
    pub fn finish(self, t_e: &Tensor, guidance: f64) -> Result<FinishedMaps, NotFinite> {
        let undefined = match self.aggregation {
            Aggregation::EndIncluded => t_e.zeros_like().to_kind(Kind::Bool),
            Aggregation::EndExcluded => t_e.eq(0),
        };
        let mut maps = BTreeMap::new();
        for map in self.maps {
            let kind = map.kind;
            let map = map.finish(t_e);
            check_map(kind, guidance, &map.defined(), t_e)?;
            maps.insert(kind, map);
        }
        Ok(FinishedMaps {
            undefined,
            maps,
            ratio_maps: self.ratios.finish(),
        })
    }
}

#[derive(Debug)]
pub struct FinishedMaps {
    /// Where the maps are NaN by definition (t_e = 0, end step excluded), bool `[N, m]`.
    pub undefined: Tensor,
    pub maps: BTreeMap<MapKind, AnomalyMap>,
    /// The aggregated map at multiples of the end step.
    pub ratio_maps: Vec<RatioMap>,
}

fn check_map(kind: MapKind, guidance: f64, map: &Tensor, t_e: &Tensor) -> Result<(), NotFinite> {
    let sums = map.sum_dim_intlist(&[2_i64, 3][..], false, Kind::Double);
    let Some(position) = first_not_finite(&sums) else {
        return Ok(());
    };
    Err(NotFinite {
        what: format!("the {kind:?} map"),
        slice: position[0],
        step: t_e.int64_value(&position),
        guidance,
    })
}

#[derive(Debug)]
struct RunningMap {
    kind: MapKind,
    aggregation: Aggregation,
    /// Sum (or last) of the contributions so far.
    running: Tensor,
    /// `running` at the last new maximum.
    taken: Tensor,
    first: Option<Tensor>,
}

impl RunningMap {
    /// `like` is f32 `[N, m, H, W]`.
    fn new(kind: MapKind, aggregation: Aggregation, like: &Tensor) -> Self {
        let running = match pooling(kind) {
            Pooling::Mean => like.zeros_like(),
            // Nothing comes before index 0.
            Pooling::Last => like.full_like(f64::NAN),
        };
        Self {
            kind,
            aggregation,
            taken: running.shallow_clone(),
            running,
            first: None,
        }
    }

    /// One step; `better` (bool `[N, m, 1, 1]`) is where M reached a new maximum at it.
    fn push(&mut self, step: &SingleMaps, better: &Tensor) {
        let value = step.of(self.kind);
        match self.aggregation {
            Aggregation::EndIncluded => {
                self.advance(&value);
                self.take(better);
            }
            Aggregation::EndExcluded => {
                self.take(better);
                self.advance(&value);
                self.first.get_or_insert(value);
            }
        }
    }

    fn advance(&mut self, value: &Tensor) {
        self.running = match pooling(self.kind) {
            Pooling::Mean => &self.running + value,
            Pooling::Last => value.shallow_clone(),
        };
    }

    fn take(&mut self, better: &Tensor) {
        self.taken = self.running.where_self(better, &self.taken);
    }

    /// The map for end steps `end` (i64 `[N, m]`).
    fn finish(self, end: &Tensor) -> AnomalyMap {
        let map = match pooling(self.kind) {
            // Eq. 20.
            Pooling::Mean => self.taken / spread(&averaged_steps(end, self.aggregation)),
            Pooling::Last => self.taken,
        };
        AnomalyMap {
            map,
            first: self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anofpdm::divergence::Divergence;

    const MAPS: [MapKind; 2] = [MapKind::Aam, MapKind::Ste];

    /// One slice, one modality, 2 x 2 pixels, UGP = 0 and x0 = 0: HGP = v gives M = S = v^2.
    fn run(values: &[f64], aggregation: Aggregation) -> (i64, FinishedMaps) {
        let zero = Tensor::zeros([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let mut divergence = Divergence::new(&zero);
        let mut maps = AggregatedMaps::new(&MAPS, &[], aggregation, &zero);
        for value in values {
            let single = SingleMaps::new(&(&zero + *value), &zero, &zero, 1.0, 1.0);
            let new_maximum = divergence.push(&single.squared_difference);
            maps.push(&single, &new_maximum);
        }
        let t_e = divergence.finish(1.0).unwrap().t_e;
        (t_e.int64_value(&[0, 0]), maps.finish(&t_e, 1.0).unwrap())
    }

    fn pixel(map: &Tensor) -> f64 {
        map.double_value(&[0, 0, 1, 1])
    }

    #[test]
    fn the_first_of_equal_maxima_ends_the_mean() {
        let (t_e, done) = run(&[1., 3., 2., 3.], Aggregation::EndIncluded);
        assert_eq!(t_e, 1);
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 5.0);
        assert_eq!(pixel(&done.maps[&MapKind::Ste].map), 9.0);
        let (_, done) = run(&[1., 3., 2., 3.], Aggregation::EndExcluded);
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 1.0);
        assert_eq!(pixel(&done.maps[&MapKind::Ste].map), 1.0);
    }

    #[test]
    fn an_empty_mean_is_nan_and_flagged() {
        let (_, done) = run(&[3., 1.], Aggregation::EndExcluded);
        assert_eq!(done.undefined.int64_value(&[0, 0]), 1);
        for kind in MAPS {
            let map = &done.maps[&kind];
            assert!(pixel(&map.map).is_nan());
            assert_eq!(pixel(&map.defined()), 9.0);
        }
        let (_, done) = run(&[3., 1.], Aggregation::EndIncluded);
        assert_eq!(done.undefined.int64_value(&[0, 0]), 0);
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 9.0);
    }
}
