//! Everything one guidance strength keeps while the walk goes on.

use std::collections::BTreeMap;

use anofpdm_common::method::MapKind;
use anofpdm_common::semantics::Aggregation;
use tch::{Device, Kind, Tensor};

use super::end_map::{AnomalyMap, Contributions, EndMap};
use super::end_ratio::{EndRatios, RatioMap};
use super::step_trace::StepTrace;

/// What to keep.
#[derive(Debug, Clone, Copy)]
pub struct AccumulatorSettings<'a> {
    /// Guidance strength w.
    pub guidance: f64,
    /// Which steps Eq. 20 averages.
    pub aggregation: Aggregation,
    /// Maps wanted.
    pub maps: &'a [MapKind],
    /// Multiples of the end step at which the aggregated map is wanted too.
    pub end_step_ratios: &'a [f64],
}

/// A number that is NaN or infinite, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} of slice {slice} of the batch is not finite at step {step} (guidance {guidance})")]
pub struct NotFinite {
    /// `M`, `MSE^h` or the name of a map.
    pub what: String,
    /// Position of the slice in the batch.
    pub slice: i64,
    /// Index of the step; for a map its end step.
    pub step: i64,
    /// Guidance strength.
    pub guidance: f64,
}

/// What one guidance strength yields.
#[derive(Debug)]
pub struct GuidanceResult {
    /// Guidance strength w.
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
    /// The maps wanted.
    pub maps: BTreeMap<MapKind, AnomalyMap>,
    /// The aggregated map at multiples of the end step.
    pub ratio_maps: Vec<RatioMap>,
    /// Sum of S inside the lesion, f64 `[N, K, m]`; with a lesion mask only.
    pub lesion_inside: Option<Tensor>,
    /// Sum of S outside the lesion, f64 `[N, K, m]`; with a lesion mask only.
    pub lesion_outside: Option<Tensor>,
}

impl GuidanceResult {
    /// The same in host memory.
    #[must_use]
    pub(super) fn on_host(self) -> Self {
        let host = |tensor: Tensor| tensor.to_device(Device::Cpu);
        Self {
            guidance: self.guidance,
            divergence: host(self.divergence),
            mse_h: host(self.mse_h),
            t_e: host(self.t_e),
            peak: host(self.peak),
            undefined: host(self.undefined),
            maps: self
                .maps
                .into_iter()
                .map(|(kind, map)| (kind, map.on_host()))
                .collect(),
            ratio_maps: self
                .ratio_maps
                .into_iter()
                .map(|ratio| RatioMap {
                    ratio: ratio.ratio,
                    end: host(ratio.end),
                    map: host(ratio.map),
                })
                .collect(),
            lesion_inside: self.lesion_inside.map(host),
            lesion_outside: self.lesion_outside.map(host),
        }
    }
}

/// The state of one guidance strength; fed with the predictions of every step.
#[derive(Debug)]
pub struct Accumulator {
    guidance: f64,
    aggregation: Aggregation,
    x0: Tensor,
    lesion: Option<Tensor>,
    /// Largest M so far and its index, `[N, m]`.
    best: Tensor,
    t_e: Tensor,
    divergence: StepTrace,
    mse_h: StepTrace,
    inside: StepTrace,
    maps: Vec<EndMap>,
    ratios: EndRatios,
}

impl Accumulator {
    /// `x0` is f32 `[N, m, H, W]`: the modalities that maps are made of; `lesion` (evaluation only)
    /// is 0 or 1, `[N, 1, H, W]`.
    pub fn new(settings: AccumulatorSettings<'_>, x0: &Tensor, lesion: Option<&Tensor>) -> Self {
        let size = x0.size();
        let (slices, modalities) = (size[0], size[1]);
        let aggregation = settings.aggregation;
        let options = (Kind::Float, x0.device());
        Self {
            guidance: settings.guidance,
            aggregation,
            best: Tensor::full([slices, modalities], f64::NEG_INFINITY, options),
            t_e: Tensor::zeros([slices, modalities], (Kind::Int64, x0.device())),
            divergence: StepTrace::default(),
            mse_h: StepTrace::default(),
            inside: StepTrace::default(),
            maps: settings
                .maps
                .iter()
                .map(|kind| EndMap::new(*kind, aggregation, x0))
                .collect(),
            ratios: EndRatios::new(settings.end_step_ratios, aggregation, x0),
            lesion: lesion.map(|mask| mask.to_kind(Kind::Double)),
            x0: x0.shallow_clone(),
        }
    }

    /// The next step: HGP and UGP (f32 `[N, m, H, W]`) and B_t at it.
    pub fn push(&mut self, hgp: &Tensor, ugp: &Tensor, gradient_factor: f64) {
        let index = self.divergence.len();
        let squared_error = (hgp - &self.x0).square();
        let squared_difference = (hgp - ugp).square();
        let divergence = pixel_mean(&squared_difference);
        // Strictly greater: the first of equal maxima stays (Eq. 21).
        let better = divergence.gt_tensor(&self.best);
        self.best = divergence.where_self(&better, &self.best);
        self.t_e = self.t_e.full_like(index).where_self(&better, &self.t_e);

        let step = Contributions {
            squared_error: &squared_error,
            squared_difference: &squared_difference,
            gradient_factor: gradient_factor * (1.0 + self.guidance),
        };
        let better_pixels = better.unsqueeze(-1).unsqueeze(-1);
        for map in &mut self.maps {
            map.push(&step, &better_pixels);
        }
        self.ratios.push(&squared_error, &better);
        if let Some(lesion) = &self.lesion {
            self.inside.push(&pixel_sum(&(&squared_error * lesion)));
        }
        self.mse_h.push(&pixel_mean(&squared_error));
        self.divergence.push(&divergence);
    }

    /// The result after the last step.
    ///
    /// # Errors
    /// When M, MSE^h or a map holds NaN or infinity where it is defined.
    pub fn finish(self) -> Result<GuidanceResult, NotFinite> {
        let guidance = self.guidance;
        let stacked = |trace: &StepTrace| trace.stacked().unwrap_or_default();
        let divergence = stacked(&self.divergence);
        let mse_h = stacked(&self.mse_h);
        check_trace("M", guidance, &divergence)?;
        check_trace("MSE^h", guidance, &mse_h)?;

        let undefined = match self.aggregation {
            Aggregation::EndIncluded => self.t_e.zeros_like().to_kind(Kind::Bool),
            Aggregation::EndExcluded => self.t_e.eq(0),
        };
        let mut maps = BTreeMap::new();
        for map in self.maps {
            let kind = map.kind();
            let map = map.finish(&self.t_e);
            check_map(kind, guidance, &map.defined(), &self.t_e)?;
            maps.insert(kind, map);
        }
        let pixels: i64 = self.x0.size().iter().skip(2).product();
        let lesion_inside = self.inside.stacked();
        let lesion_outside = lesion_inside
            .as_ref()
            .map(|inside| mse_h.to_kind(Kind::Double) * pixels - inside);
        Ok(GuidanceResult {
            guidance,
            divergence,
            mse_h,
            t_e: self.t_e,
            peak: self.best,
            undefined,
            maps,
            ratio_maps: self.ratios.finish(),
            lesion_inside,
            lesion_outside,
        })
    }
}

/// Mean over pixels, f32 `[N, m]`. Summed in f64, so that the order of summation leaves no trace.
pub fn pixel_mean(values: &Tensor) -> Tensor {
    values
        .to_kind(Kind::Double)
        .mean_dim(&[2_i64, 3][..], false, Kind::Double)
        .to_kind(Kind::Float)
}

fn pixel_sum(values: &Tensor) -> Tensor {
    values
        .to_kind(Kind::Double)
        .sum_dim_intlist(&[2_i64, 3][..], false, Kind::Double)
}

/// `trace` is `[N, K, m]`; the error names the earliest step of the first slice concerned.
pub(super) fn check_trace(what: &str, guidance: f64, trace: &Tensor) -> Result<(), NotFinite> {
    let Some(position) = first_not_finite(&trace.sum_dim_intlist(2_i64, false, Kind::Double))
    else {
        return Ok(());
    };
    Err(NotFinite {
        what: what.to_owned(),
        slice: position[0],
        step: position[1],
        guidance,
    })
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

/// Position of the first NaN or infinity of a matrix.
fn first_not_finite(matrix: &Tensor) -> Option<[i64; 2]> {
    let wrong = matrix.isfinite().logical_not().nonzero();
    (wrong.size()[0] > 0).then(|| [wrong.int64_value(&[0, 0]), wrong.int64_value(&[0, 1])])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: [MapKind; 2] = [MapKind::Aam, MapKind::Ste];

    /// One slice, one modality, 2 x 2 pixels, UGP = 0 and x0 = 0: HGP = v gives M = S = v^2.
    fn run(values: &[f64], aggregation: Aggregation) -> Result<GuidanceResult, NotFinite> {
        let zero = Tensor::zeros([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let settings = AccumulatorSettings {
            guidance: 1.0,
            aggregation,
            maps: &MAPS,
            end_step_ratios: &[],
        };
        let lesion = Tensor::from_slice(&[1_u8, 0, 0, 0]).view([1, 1, 2, 2]);
        let mut state = Accumulator::new(settings, &zero, Some(&lesion));
        for value in values {
            state.push(&(&zero + *value), &zero, 1.0);
        }
        state.finish()
    }

    fn pixel(map: &Tensor) -> f64 {
        map.double_value(&[0, 0, 1, 1])
    }

    #[test]
    fn the_first_of_equal_maxima_ends_the_mean() {
        let done = run(&[1., 3., 2., 3.], Aggregation::EndIncluded).unwrap();
        assert_eq!(done.t_e.int64_value(&[0, 0]), 1);
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 5.0);
        assert_eq!(pixel(&done.maps[&MapKind::Ste].map), 9.0);
        let done = run(&[1., 3., 2., 3.], Aggregation::EndExcluded).unwrap();
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 1.0);
        assert_eq!(pixel(&done.maps[&MapKind::Ste].map), 1.0);
    }

    #[test]
    fn an_empty_mean_is_nan_and_flagged() {
        let done = run(&[3., 1.], Aggregation::EndExcluded).unwrap();
        assert_eq!(done.undefined.int64_value(&[0, 0]), 1);
        for kind in MAPS {
            let map = &done.maps[&kind];
            assert!(pixel(&map.map).is_nan());
            assert_eq!(pixel(&map.defined()), 9.0);
        }
        let done = run(&[3., 1.], Aggregation::EndIncluded).unwrap();
        assert_eq!(done.undefined.int64_value(&[0, 0]), 0);
        assert_eq!(pixel(&done.maps[&MapKind::Aam].map), 9.0);
    }

    #[test]
    fn sums_inside_and_outside_the_lesion() {
        let done = run(&[1., 2.], Aggregation::EndIncluded).unwrap();
        let inside = done.lesion_inside.unwrap();
        let outside = done.lesion_outside.unwrap();
        assert_eq!(inside.double_value(&[0, 1, 0]), 4.0);
        assert_eq!(outside.double_value(&[0, 1, 0]), 12.0);
    }

    #[test]
    fn not_finite_names_slice_and_step() {
        let error = run(&[1., f64::NAN], Aggregation::EndIncluded).unwrap_err();
        assert_eq!((error.slice, error.step), (0, 1));
        assert!(error.to_string().contains("M of slice 0"), "{error}");
    }
}
