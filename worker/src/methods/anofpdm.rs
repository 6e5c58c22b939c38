//! AnoFPDM's forward process: one pass over a batch that serves every guidance strength and map.
//!
//! Neither prediction depends on the strength w, and the walk is unguided; so each step costs two
//! network evaluations a slice (three in the public code's deterministic walk), however many
//! strengths, maps and end-step ratios are asked for (DESIGN 8). Memory does not grow with the
//! steps, except for end-step ratios below 1.

use std::ops::ControlFlow;

use anofpdm_common::method::{Encoding, MapKind};
use anofpdm_common::semantics::{Switches, UnguidedLabel};
use tch::Tensor;

use super::accumulator::{
    Accumulator, AccumulatorSettings, GuidanceResult, NotFinite, check_trace, pixel_mean,
};
use super::input::{check_batch, check_modalities, check_noise};
use super::predictor::{Counted, NoisePredictor};
use super::step_trace::StepTrace;
use super::trajectory::{Trajectory, Visit};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::predict_x0;

/// What a pass is to do.
#[derive(Debug, Clone, Copy)]
pub struct ForwardPass<'a> {
    /// Noise schedule.
    pub schedule: &'a Schedule,
    /// Science switches.
    pub switches: Switches,
    /// Deterministic or stochastic walk.
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
    pub guidance: Vec<GuidanceResult>,
    /// MSE^null (Eq. 16), f32 `[N, K, m]`.
    pub mse_null: Tensor,
    /// Kept indices, in the order of the walk.
    pub kept: Vec<KeptStep>,
    /// Network evaluations: one slice through the network once.
    pub evaluations: u64,
}

impl ForwardResult {
    /// The same in host memory, where any thread may read it; kept steps stay where they are.
    #[must_use]
    pub fn on_host(self) -> Self {
        let guidance = self.guidance.into_iter().map(GuidanceResult::on_host);
        Self {
            guidance: guidance.collect(),
            mse_null: self.mse_null.to_device(tch::Device::Cpu),
            ..self
        }
    }
}

/// One step kept whole.
#[derive(Debug)]
pub struct KeptStep {
    /// Its index.
    pub index: usize,
    /// Noised input, f32 `[N, C, H, W]`.
    pub x: Tensor,
    /// UGP (Eq. 10), f32 `[N, m, H, W]`.
    pub ugp: Tensor,
    /// HGP (Eq. 7) of every strength, each f32 `[N, m, H, W]`.
    pub hgp: Vec<Tensor>,
}

/// Why a pass cannot run or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// A setting or an input that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// NaN or infinity on the way.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The caller asked to stop.
    #[error("stopped after step {0}")]
    Stopped(usize),
}

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
    ) -> Result<ForwardResult, ForwardError> {
        self.validate(x0, noise)?;
        tch::no_grad(|| self.walk(&mut Counted::new(predictor), x0, noise, progress))
    }

    fn walk(
        &self,
        predictor: &mut Counted<'_, dyn NoisePredictor + '_>,
        x0: &Tensor,
        noise: &NoiseSource,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ForwardResult, ForwardError> {
        let channels = Tensor::from_slice(self.modalities).to_device(x0.device());
        let chosen = x0.index_select(1, &channels);
        let mut strengths: Vec<Accumulator> = self
            .guidance
            .iter()
            .map(|&guidance| Accumulator::new(self.settings(guidance), &chosen, self.lesion))
            .collect();
        let mut trajectory = Trajectory::new(
            self.schedule,
            self.encoding,
            self.switches,
            x0,
            noise,
            self.steps,
        );
        let mut mse_null = StepTrace::default();
        let mut kept = Vec::new();

        for index in 0..self.steps {
            let visit = trajectory.visit(index, predictor);
            let seen = Visit {
                x: visit.x.index_select(1, &channels),
                healthy: visit.healthy.index_select(1, &channels),
                null: visit.null.index_select(1, &channels),
            };
            let ugp = self.unguided(index, &seen);
            mse_null.push(&pixel_mean(&(&ugp - &chosen).square()));
            let factor = self.schedule.gradient_factor(index);
            let keep = self.keep.contains(&index);
            let mut hgps = Vec::new();
            for (strength, &guidance) in strengths.iter_mut().zip(self.guidance) {
                let hgp = self.guided(index, &seen, guidance);
                strength.push(&hgp, &ugp, factor);
                if keep {
                    hgps.push(hgp);
                }
            }
            if keep {
                kept.push(KeptStep {
                    index,
                    x: visit.x,
                    ugp,
                    hgp: hgps,
                });
            }
            if progress(index).is_break() {
                return Err(ForwardError::Stopped(index));
            }
        }

        // At least one step was asked for.
        let mse_null = mse_null.stacked().unwrap_or_default();
        let guidance = strengths
            .into_iter()
            .map(Accumulator::finish)
            .collect::<Result<Vec<_>, _>>()?;
        let any = self.guidance.first().copied().unwrap_or_default();
        check_trace("MSE^null", any, &mse_null)?;
        Ok(ForwardResult {
            guidance,
            mse_null,
            kept,
            evaluations: predictor.evaluations(),
        })
    }

    fn settings(&self, guidance: f64) -> AccumulatorSettings<'_> {
        AccumulatorSettings {
            guidance,
            aggregation: self.switches.aggregation,
            maps: self.maps,
            end_step_ratios: self.end_step_ratios,
        }
    }

    /// HGP (Eq. 6 and 7): x0 from `(1 + w) epsilon(h) - w epsilon(null)`.
    fn guided(&self, index: usize, visit: &Visit, guidance: f64) -> Tensor {
        let epsilon = &visit.healthy * (1.0 + guidance) - &visit.null * guidance;
        predict_x0(
            self.schedule,
            index,
            &visit.x,
            &epsilon,
            self.switches.clamp_x0,
        )
    }

    /// UGP (Eq. 10).
    fn unguided(&self, index: usize, visit: &Visit) -> Tensor {
        let epsilon = match self.switches.unguided {
            UnguidedLabel::Null => &visit.null,
            UnguidedLabel::Healthy => &visit.healthy,
        };
        predict_x0(
            self.schedule,
            index,
            &visit.x,
            epsilon,
            self.switches.clamp_x0,
        )
    }

    fn validate(&self, x0: &Tensor, noise: &NoiseSource) -> Result<(), ForwardError> {
        let fail = |message: String| Err(ForwardError::Invalid(message));
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
        let needed = Trajectory::noise_needed(self.encoding, self.steps);
        let walk = format!("{} encoding of {} steps", self.encoding.name(), self.steps);
        check_noise(noise, shape, needed, &walk)
    }
}
