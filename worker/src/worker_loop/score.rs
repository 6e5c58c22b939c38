//! From one pass over a batch to the records of its cells: Algorithm 1, masks, statistics.

use anofpdm_common::metrics::calibration::cosine;
use anofpdm_common::metrics::mse_ratio::mse_ratio;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::{ScoreError, score_run};
use anofpdm_common::record::{
    FigureTraces, ModalityDecision, RatedScore, Record, SliceFigures, SliceScore, SliceTrace,
};
use anofpdm_common::segment::{MaskRule, QuantileLevels, Segmentation};
use anofpdm_common::segment::{components, divergence_ratio, level_index, mask_at, segment};
use anofpdm_common::semantics::Switches;
use anofpdm_common::work::{Cell, CellOutput};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::methods::accumulator::GuidanceResult;
use crate::methods::anofpdm::ForwardResult;

use super::batch_reader::TrueSlice;

/// A pass whose result cannot be scored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScoringError {
    /// The pass lacks what the cell asks for.
    #[error("the pass has no {0}. This is a bug.")]
    Missing(&'static str),
    /// A map holds a value that cannot be ranked.
    #[error("slice {slice} of the batch: {source}")]
    Score {
        /// Position in the batch.
        slice: usize,
        /// What is wrong with the value.
        source: ScoreError,
    },
}

/// What scoring a batch needs beside the pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scoring<'a> {
    /// Science switches.
    pub(super) switches: Switches,
    /// Components up to this many pixels are dropped.
    pub(super) component_area: u32,
    /// From map to mask.
    pub(super) mask_rule: MaskRule,
    /// Side of a slice, pixels.
    pub(super) size: usize,
    /// The real slices of the batch (padding left out); empty for cells that keep traces only.
    pub(super) truth: &'a [TrueSlice],
    /// Number of real slices.
    pub(super) slices: usize,
}

impl Scoring<'_> {
    /// The record of `cell`.
    ///
    /// # Errors
    /// [`ScoringError`].
    pub(super) fn record(&self, pass: &ForwardResult, cell: &Cell) -> Result<Record, ScoringError> {
        let strength = pass
            .guidance
            .iter()
            .find(|result| result.guidance.to_bits() == cell.guidance.to_bits())
            .ok_or(ScoringError::Missing("such guidance strength"))?;
        let traces = Traces::new(strength, &pass.mse_null);
        match &cell.output {
            CellOutput::Traces => Ok(Record::Traces(
                (0..self.slices).map(|slice| traces.of(slice)).collect(),
            )),
            CellOutput::Overlaps { .. } | CellOutput::Restored { .. } => {
                Err(ScoringError::Missing("restored slice"))
            }
            CellOutput::Mask { mse_ratio, .. } => {
                let maps = Maps::new(strength, cell, self.size)?;
                let scores = (0..self.slices)
                    .into_par_iter()
                    .map(|slice| self.score(slice, &traces, &maps, &cell.output))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(if *mse_ratio {
                    Record::RatedMasks(traces.rated(scores))
                } else {
                    Record::Masks(scores)
                })
            }
        }
    }

    fn score(
        &self,
        slice: usize,
        traces: &Traces,
        maps: &Maps,
        output: &CellOutput,
    ) -> Result<SliceScore, ScoringError> {
        let CellOutput::Mask {
            max_divergence,
            figures,
            ..
        } = output
        else {
            return Err(ScoringError::Missing("mask to score"));
        };
        let truth = self
            .truth
            .get(slice)
            .ok_or(ScoringError::Missing("pixel truth"))?;
        let trace = traces.of(slice);
        let modalities = self.decide(slice, traces, maps, max_divergence);
        let levels = QuantileLevels::default();
        let levels: Vec<f32> = modalities
            .iter()
            .map(|decision| levels.table()[usize::from(decision.level_index)])
            .collect();
        let planes = maps.map.of(slice);
        let mut segmentation = self.segment(&planes, &levels);
        if modalities.iter().any(|decision| !decision.defined) {
            segmentation.mask.fill(0);
            segmentation.q_star = f32::NAN;
        }
        let overlap = self.overlap(&mut segmentation.mask, truth);
        let run = score_run(
            &segmentation.aam_median,
            &truth.mask,
            Some(&truth.foreground),
        )
        .map_err(|source| ScoringError::Score { slice, source })?;

        let wants_figures = figures.traces
            || !figures.end_step_ratios.is_empty()
            || !figures.fixed_thresholds.is_empty();
        let figures = wants_figures.then(|| {
            let ratios = maps.ratios.iter().map(|ratio| {
                let mut mask = self.segment(&ratio.of(slice), &levels).mask;
                self.overlap(&mut mask, truth)
            });
            #[allow(clippy::cast_possible_truncation)] // maps are float32
            let fixed = figures.fixed_thresholds.iter().map(|threshold| {
                let mut mask = mask_at(&segmentation.aam_median, *threshold as f32);
                self.overlap(&mut mask, truth)
            });
            Box::new(SliceFigures {
                traces: figures
                    .traces
                    .then(|| traces.figure(slice, trace.clone(), truth)),
                end_step_ratios: ratios.collect(),
                fixed_thresholds: fixed.collect(),
            })
        });
        Ok(SliceScore {
            overlap,
            cosine: cosine(&trace.mse_h, &trace.mse_null, traces.modalities),
            q_star: segmentation.q_star,
            modalities,
            run,
            figures,
        })
    }

    fn segment(&self, maps: &[&[f32]], levels: &[f32]) -> Segmentation {
        segment(maps, levels, (self.size, self.size), self.mask_rule)
    }

    /// Algorithm 1 up to the level, for each modality.
    fn decide(
        &self,
        slice: usize,
        traces: &Traces,
        maps: &Maps,
        max_divergence: &[f32],
    ) -> Vec<ModalityDecision> {
        let m = traces.modalities;
        max_divergence
            .iter()
            .enumerate()
            .map(|(modality, max)| {
                let end_step = maps.t_e[slice * m + modality];
                let divergence = traces.divergence_at(slice, end_step, modality);
                let index = level_index(
                    divergence_ratio(divergence, *max),
                    self.switches.level_index,
                );
                ModalityDecision {
                    end_step,
                    divergence,
                    level_index: u8::try_from(index).unwrap_or(u8::MAX),
                    defined: !maps.undefined[slice * m + modality],
                }
            })
            .collect()
    }

    /// Drops small components and counts.
    fn overlap(&self, mask: &mut [u8], truth: &TrueSlice) -> Overlap {
        components::drop_small(mask, self.size, self.size, self.component_area);
        Overlap::count(mask, &truth.mask)
    }
}

/// Sequences of a whole batch, on the host: `[N, K, m]` each.
struct Traces {
    steps: usize,
    modalities: usize,
    divergence: Vec<f32>,
    mse_h: Vec<f32>,
    mse_null: Vec<f32>,
    /// Sums of S inside and outside the lesion.
    lesion: Option<(Vec<f64>, Vec<f64>)>,
}

impl Traces {
    fn new(strength: &GuidanceResult, mse_null: &Tensor) -> Self {
        let shape = mse_null.size();
        let dim = |axis: usize| {
            shape
                .get(axis)
                .map_or(0, |n| usize::try_from(*n).unwrap_or(0))
        };
        Self {
            steps: dim(1),
            modalities: dim(2),
            divergence: host_f32(&strength.divergence),
            mse_h: host_f32(&strength.mse_h),
            mse_null: host_f32(mse_null),
            lesion: strength
                .lesion_inside
                .as_ref()
                .zip(strength.lesion_outside.as_ref())
                .map(|(inside, outside)| (host_f64(inside), host_f64(outside))),
        }
    }

    fn of(&self, slice: usize) -> SliceTrace {
        let part = |values: &[f32]| self.part(values, slice).to_vec();
        SliceTrace {
            divergence: part(&self.divergence),
            mse_h: part(&self.mse_h),
            mse_null: part(&self.mse_null),
        }
    }

    fn part<'a, T>(&self, values: &'a [T], slice: usize) -> &'a [T] {
        let length = self.steps * self.modalities;
        &values[slice * length..(slice + 1) * length]
    }

    /// Scores of the first slices, each with the ratio of its sequences.
    fn rated(&self, scores: Vec<SliceScore>) -> Vec<RatedScore> {
        let slices = scores.into_iter().enumerate();
        slices
            .map(|(slice, score)| RatedScore {
                score,
                mse_ratio: mse_ratio(
                    self.part(&self.mse_h, slice),
                    self.part(&self.mse_null, slice),
                ),
            })
            .collect()
    }

    fn divergence_at(&self, slice: usize, step: u32, modality: usize) -> f32 {
        self.part(&self.divergence, slice)[step as usize * self.modalities + modality]
    }

    fn figure(&self, slice: usize, trace: SliceTrace, truth: &TrueSlice) -> FigureTraces {
        let lesion = truth.mask.iter().filter(|pixel| **pixel != 0).count();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let mean = |sums: &[f64], pixels: usize| {
            self.part(sums, slice)
                .iter()
                .map(|sum| (sum / pixels as f64) as f32)
                .collect()
        };
        let (inside, outside) = match &self.lesion {
            Some((inside, outside)) => (
                mean(inside, lesion),
                mean(outside, truth.mask.len() - lesion),
            ),
            None => (Vec::new(), Vec::new()),
        };
        FigureTraces {
            trace,
            inside,
            outside,
        }
    }
}

/// Maps of a whole batch, on the host.
struct Maps {
    map: Planes,
    ratios: Vec<Planes>,
    /// `[N, m]`.
    t_e: Vec<u32>,
    /// `[N, m]`.
    undefined: Vec<bool>,
}

/// f32 `[N, m, H, W]` on the host.
struct Planes {
    values: Vec<f32>,
    modalities: usize,
    pixels: usize,
}

impl Planes {
    fn new(map: &Tensor, size: usize) -> Self {
        let modalities = map
            .size()
            .get(1)
            .map_or(0, |n| usize::try_from(*n).unwrap_or(0));
        Self {
            values: host_f32(map),
            modalities,
            pixels: size * size,
        }
    }

    fn of(&self, slice: usize) -> Vec<&[f32]> {
        let length = self.modalities * self.pixels;
        self.values[slice * length..(slice + 1) * length]
            .chunks_exact(self.pixels)
            .collect()
    }
}

impl Maps {
    fn new(strength: &GuidanceResult, cell: &Cell, size: usize) -> Result<Self, ScoringError> {
        let CellOutput::Mask { map, figures, .. } = &cell.output else {
            return Err(ScoringError::Missing("mask to score"));
        };
        let map = strength
            .maps
            .get(map)
            .ok_or(ScoringError::Missing("such map"))?;
        let ratios = figures
            .end_step_ratios
            .iter()
            .map(|wanted| {
                strength
                    .ratio_maps
                    .iter()
                    .find(|ratio| ratio.ratio.to_bits() == wanted.to_bits())
                    .map(|ratio| Planes::new(&ratio.map, size))
                    .ok_or(ScoringError::Missing("such end-step ratio"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            map: Planes::new(&map.defined(), size),
            ratios,
            t_e: host_i64(&strength.t_e)
                .into_iter()
                .map(|t_e| u32::try_from(t_e).unwrap_or(0))
                .collect(),
            undefined: host_i64(&strength.undefined)
                .into_iter()
                .map(|flag| flag != 0)
                .collect(),
        })
    }
}

fn host_f32(tensor: &Tensor) -> Vec<f32> {
    copy(&host(tensor, Kind::Float), 0.0)
}

fn host_f64(tensor: &Tensor) -> Vec<f64> {
    copy(&host(tensor, Kind::Double), 0.0)
}

fn host_i64(tensor: &Tensor) -> Vec<i64> {
    copy(&host(tensor, Kind::Int64), 0)
}

fn host(tensor: &Tensor, kind: Kind) -> Tensor {
    tensor
        .to_device(tch::Device::Cpu)
        .to_kind(kind)
        .contiguous()
}

fn copy<T: tch::kind::Element + Copy>(tensor: &Tensor, zero: T) -> Vec<T> {
    let count = tensor.numel();
    let mut values = vec![zero; count];
    tensor.copy_data(&mut values, count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slice_has_the_ratio_of_its_own_sequences() {
        // Two slices of two steps and two modalities.
        let traces = Traces {
            steps: 2,
            modalities: 2,
            divergence: vec![0.0; 8],
            mse_h: vec![1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0],
            mse_null: vec![1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0],
            lesion: None,
        };
        let score = SliceScore {
            overlap: Overlap::count(&[0], &[0]),
            cosine: 1.0,
            q_star: 0.0,
            modalities: Vec::new(),
            run: Vec::new(),
            figures: None,
        };
        let rated = traces.rated(vec![score; 2]);
        let ratios: Vec<f32> = rated.iter().map(|slice| slice.mse_ratio).collect();
        assert_eq!(ratios, [2.5, 0.5]);
    }
}
