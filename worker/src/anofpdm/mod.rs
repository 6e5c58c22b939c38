//! AnoFPDM: one pass over a batch that serves every guidance strength and map.
//!
//! Neither prediction depends on the strength w, and the walk is unguided; so each step costs two
//! network evaluations a slice (three in the public code's deterministic walk), however many
//! strengths, maps and end-step ratios are asked for. Memory does not grow with the
//! steps, except for end-step ratios below 1.
//!
//! Algorithm 3 and where its lines are:
//!
//! ```text
//! for each time step t                              ForwardPass::walk, below
//!     x_t                        (Eq. 2, Eq. 4)     trajectory
//!     HGP                        (Eq. 6, Eq. 7)     predictions
//!     UGP                        (Eq. 10)           predictions
//!     M_t                        (Eq. 12)           divergence
//!     S_t                        (Eq. 19)           maps
//! t_e = argmax M_t               (Eq. 21)           divergence
//! H = mean of S_t up to t_e      (Eq. 20)           maps
//! Q* from H, M_te and M_max      (Algorithm 1)      segmentation::batch_levels, segmentation::segment_batch
//! label of a pixel: H >= Q*                         segmentation::segment_batch
//! ```
//!
//! The last two lines run on the host, one slice a thread, with the M_max that calibration found.

pub mod agreement;
mod averaged_steps;
pub mod classification;
pub mod divergence;
pub mod end_ratio;
pub mod forward_pass;
mod lesion_sums;
pub mod maps;
mod predictions;
pub mod segmentation;
mod step_trace;
pub mod trajectory;

use std::ops::ControlFlow;

use tch::Tensor;

pub use forward_pass::{ForwardPass, ForwardResult, KeptStep, StrengthResult};

use crate::diffusion::noise::NoiseSource;
use crate::method_error::{MethodError, NotFinite};
use crate::predictor::{Counted, NoisePredictor};
use divergence::{Divergence, EndStep, pixel_mean};
use lesion_sums::LesionSums;
use maps::{AggregatedMaps, SingleMaps};
use predictions::Predictions;
use step_trace::StepTrace;
use trajectory::ForwardTrajectory;

impl ForwardPass<'_> {
    /// Walks the batch `x0` (f32 `[N, C, H, W]` in [-1, 1]) up `steps` noise levels.
    ///
    /// `progress` is told the index of every finished step and may stop the pass.
    ///
    /// # Errors
    /// When settings and inputs do not fit, a number is not finite, or `progress` stops it.
    pub fn run(
        &self,
        predictor: &mut dyn NoisePredictor,
        x0: &Tensor,
        noise: &NoiseSource,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ForwardResult, MethodError> {
        self.validate(x0, noise)?;
        tch::no_grad(|| self.walk(&mut Counted::new(predictor), x0, noise, progress))
    }

    /// Algorithm 3 as far as H, for all strengths at once.
    fn walk(
        &self,
        predictor: &mut Counted<'_, dyn NoisePredictor + '_>,
        slices: &Tensor,
        noise: &NoiseSource,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ForwardResult, MethodError> {
        let (schedule, switches) = (self.schedule, self.switches);
        let predictions = Predictions { schedule, switches };
        let mut trajectory =
            ForwardTrajectory::new(schedule, self.encoding, switches, slices, noise, self.steps);
        let scored = Tensor::from_slice(self.modalities).to_device(slices.device());
        let x0 = slices.index_select(1, &scored);
        let each = self.guidance.iter();
        let mut strengths: Vec<StrengthState> =
            each.map(|w| StrengthState::new(self, *w, &x0)).collect();
        let mut mse_null = StepTrace::default();
        let mut kept = Vec::new();

        for index in 0..self.steps {
            // x_t (Eq. 2, Eq. 4), epsilon(x_t, t, h) and epsilon(x_t, t, null).
            let all_channels = trajectory.advance(index, predictor);
            let step = all_channels.select(&scored);
            let ugp = predictions.unguided(index, &step); // Eq. 10
            mse_null.push(&pixel_mean(&(&ugp - &x0).square())); // Eq. 16
            let b_t = schedule.gradient_factor(index);
            let keep = self.keep.contains(&index);
            let mut hgps = Vec::new();
            for strength in &mut strengths {
                let w = strength.guidance;
                let hgp = predictions.healthy_guided(index, &step, w); // Eq. 6, Eq. 7
                let single = SingleMaps::new(&hgp, &ugp, &x0, b_t, w); // S_t (Eq. 19)
                let difference = &single.squared_difference;
                let new_maximum = strength.divergence.push(difference); // M_t (Eq. 12), t_e (Eq. 21)
                strength.maps.push(&single, &new_maximum); // H (Eq. 20)
                strength.lesion.push(&single.squared_error);
                strength.mse_h.push(&pixel_mean(&single.squared_error)); // Eq. 14
                if keep {
                    hgps.push(hgp);
                }
            }
            if keep {
                kept.push(KeptStep {
                    index,
                    x: all_channels.x,
                    ugp,
                    hgp: hgps,
                });
            }
            if progress(index).is_break() {
                return Err(MethodError::Stopped(index));
            }
        }

        let strengths = strengths.into_iter().map(StrengthState::finish);
        let guidance = strengths.collect::<Result<Vec<_>, _>>()?;
        let any = self.guidance.first().copied().unwrap_or_default();
        Ok(ForwardResult {
            guidance,
            mse_null: mse_null.finish("MSE^null", any)?,
            kept,
            evaluations: predictor.evaluations(),
        })
    }
}

/// What one guidance strength keeps while the walk goes on.
struct StrengthState {
    guidance: f64,
    divergence: Divergence,
    mse_h: StepTrace,
    maps: AggregatedMaps,
    lesion: LesionSums,
    pixels: i64,
}

impl StrengthState {
    fn new(pass: &ForwardPass<'_>, guidance: f64, x0: &Tensor) -> Self {
        let aggregation = pass.switches.aggregation;
        Self {
            guidance,
            divergence: Divergence::new(x0),
            mse_h: StepTrace::default(),
            maps: AggregatedMaps::new(pass.maps, pass.end_step_ratios, aggregation, x0),
            lesion: LesionSums::new(pass.lesion),
            pixels: x0.size().iter().skip(2).product(),
        }
    }

    fn finish(self) -> Result<StrengthResult, NotFinite> {
        let guidance = self.guidance;
        let EndStep {
            divergence,
            t_e,
            peak,
        } = self.divergence.finish(guidance)?;
        let mse_h = self.mse_h.finish("MSE^h", guidance)?;
        let maps = self.maps.finish(&t_e, guidance)?;
        Ok(StrengthResult {
            guidance,
            divergence,
            lesion: self.lesion.finish(&mse_h, self.pixels),
            mse_h,
            t_e,
            peak,
            undefined: maps.undefined,
            maps: maps.maps,
            ratio_maps: maps.ratio_maps,
        })
    }
}
