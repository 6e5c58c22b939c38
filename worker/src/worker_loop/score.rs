//! From one pass over a batch to the records of its cells: Algorithm 1, masks, statistics.

use anofpdm_common::anofpdm::{MaskRule, Segmentation, drop_small, mask_at, mse_ratio};
use anofpdm_common::method::MapKind;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::{ScoreError, score_run};
use anofpdm_common::metrics::{MaskRuns, PackedRun, RunDetail};
use anofpdm_common::plan::{Cell, CellOutput};
use anofpdm_common::record::{
    CandidateScore, FigureTraces, ModalityDecision, RatedScore, Record, SliceFigures, SliceScore,
    SliceTrace,
};
use anofpdm_common::semantics::Switches;
use anofpdm_common::spec::FigureSpec;
use anofpdm_common::strength::Strength;
use rayon::prelude::*;
use tch::Tensor;

use crate::anofpdm::classification::batch_cosines;
use crate::anofpdm::segmentation::{batch_levels, segment_batch};
use crate::anofpdm::{ForwardResult, StrengthResult};
use crate::host::numbers;

use super::batch_reader::TrueSlice;
use super::exhibit::ExhibitedBatch;

/// A pass whose result cannot be scored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScoringError {
    #[error("the pass has no {0}. This is a bug.")]
    Missing(&'static str),
    #[error("slice {slice} of the batch: {source}")]
    Score { slice: usize, source: ScoreError },
}

/// What scoring a batch needs beside the pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scoring<'a> {
    pub(super) switches: Switches,
    /// Components up to this many pixels are dropped.
    pub(super) component_area: u32,
    pub(super) mask_rule: MaskRule,
    /// Side of a slice, pixels.
    pub(super) size: usize,
    /// The real slices of the batch (padding left out); empty for cells that keep traces only.
    pub(super) truth: &'a [TrueSlice],
    pub(super) slices: usize,
}

impl Scoring<'_> {
    /// The record of `cell`.
    pub(super) fn record(
        &self,
        pass: &ForwardResult,
        cell: &Cell,
        exhibited: &ExhibitedBatch<'_>,
    ) -> Result<Record, ScoringError> {
        let strength = pass
            .guidance
            .iter()
            .find(|result| Strength(result.guidance) == cell.strength())
            .ok_or(ScoringError::Missing("such guidance strength"))?;
        let traces = Traces::new(strength, &pass.mse_null);
        match &cell.output {
            CellOutput::Traces => Ok(Record::Traces(
                (0..self.slices).map(|slice| traces.of(slice)).collect(),
            )),
            CellOutput::Overlaps { .. }
            | CellOutput::Restored { .. }
            | CellOutput::RestoredExhibit { .. } => Err(ScoringError::Missing("restored slice")),
            CellOutput::Candidate { max_divergence } => {
                self.candidates(pass, strength, &traces, max_divergence)
            }
            CellOutput::Exhibit { map } => exhibited.record(self, pass, strength, &traces, *map),
            CellOutput::Mask {
                map,
                max_divergence,
                figures,
                mse_ratio,
                scores: detail,
            } => {
                let mse_null = &pass.mse_null;
                let masks = self.masks(strength, mse_null, *map, max_divergence, figures)?;
                let scores = (0..self.slices)
                    .into_par_iter()
                    .map(|slice| self.score(slice, &traces, &masks, figures, *detail))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(if *mse_ratio {
                    Record::RatedMasks(traces.rated(scores))
                } else {
                    Record::Masks(scores)
                })
            }
        }
    }

    /// How the aggregated map does at a strength that is no row of the table.
    fn candidates(
        &self,
        pass: &ForwardResult,
        strength: &StrengthResult,
        traces: &Traces,
        max_divergence: &[f32],
    ) -> Result<Record, ScoringError> {
        let none = FigureSpec::default();
        let masks = self.masks(
            strength,
            &pass.mse_null,
            MapKind::Aam,
            max_divergence,
            &none,
        )?;
        let scores = masks.segmented.into_iter().zip(self.truth).enumerate();
        let scores = scores.map(|(slice, (segmented, truth))| CandidateScore {
            overlap: self.count(segmented.mask, truth).0,
            cosine: masks.cosines[slice],
            mse_ratio: traces.mse_ratio(slice),
        });
        Ok(Record::Candidates(scores.collect()))
    }

    /// The end of Algorithm 3, for the real slices of the batch.
    fn masks(
        &self,
        strength: &StrengthResult,
        mse_null: &Tensor,
        map: MapKind,
        max_divergence: &[f32],
        figures: &FigureSpec,
    ) -> Result<Masks, ScoringError> {
        let slices = i64::try_from(self.slices).unwrap_or(i64::MAX);
        let real = |tensor: &Tensor| tensor.narrow(0, 0, slices);
        let map = strength
            .maps
            .get(&map)
            .ok_or(ScoringError::Missing("such map"))?;
        let levels = batch_levels(
            &real(&strength.peak),
            max_divergence,
            self.switches.level_index,
        );
        let decisions: Vec<ModalityDecision> = levels
            .iter()
            .zip(numbers::<i64>(&strength.t_e))
            .zip(numbers::<f32>(&strength.peak))
            .zip(numbers::<bool>(&strength.undefined))
            .map(|(((level, t_e), peak), undefined)| ModalityDecision {
                end_step: u32::try_from(t_e).unwrap_or(0),
                divergence: peak,
                level_index: level.index,
                defined: !undefined,
            })
            .collect();
        let mut segmented = segment_batch(&real(&map.defined()), &levels, self.mask_rule);
        let of_slices = decisions.chunks(max_divergence.len().max(1));
        for (slice, decisions) in segmented.iter_mut().zip(of_slices) {
            if decisions.iter().any(|decision| !decision.defined) {
                slice.clear();
            }
        }
        let ratios = figures.end_step_ratios.iter().map(|wanted| {
            let mut all = strength.ratio_maps.iter();
            let found = all.find(|ratio| ratio.ratio.to_bits() == wanted.to_bits());
            let ratio = found.ok_or(ScoringError::Missing("such end-step ratio"))?;
            Ok(segment_batch(&real(&ratio.map), &levels, self.mask_rule))
        });
        Ok(Masks {
            cosines: batch_cosines(&strength.mse_h, mse_null),
            ratios: ratios.collect::<Result<_, _>>()?,
            decisions,
            segmented,
        })
    }

    fn score(
        &self,
        slice: usize,
        traces: &Traces,
        masks: &Masks,
        figures: &FigureSpec,
        detail: RunDetail,
    ) -> Result<SliceScore, ScoringError> {
        let truth = self
            .truth
            .get(slice)
            .ok_or(ScoringError::Missing("pixel truth"))?;
        let m = traces.modalities;
        let segmented = &masks.segmented[slice];
        let run = score_run(&segmented.aam_median, &truth.mask, Some(&truth.foreground))
            .map_err(|source| ScoringError::Score { slice, source })?;

        let wants_figures = figures.traces
            || !figures.end_step_ratios.is_empty()
            || !figures.fixed_thresholds.is_empty();
        let figures = wants_figures.then(|| {
            let ratios = masks.ratios.iter();
            let ratios = ratios.map(|ratio| self.count(ratio[slice].mask.clone(), truth).0);
            #[allow(clippy::cast_possible_truncation)] // maps are float32
            let fixed = figures.fixed_thresholds.iter().map(|threshold| {
                let mask = mask_at(&segmented.aam_median, *threshold as f32);
                self.count(mask, truth).0
            });
            Box::new(SliceFigures {
                traces: figures.traces.then(|| traces.figure(slice, truth)),
                end_step_ratios: ratios.collect(),
                fixed_thresholds: fixed.collect(),
            })
        });
        let (overlap, mask) = self.count(segmented.mask.clone(), truth);
        Ok(SliceScore {
            overlap,
            cosine: masks.cosines[slice],
            q_star: segmented.q_star,
            modalities: masks.decisions[slice * m..(slice + 1) * m].to_vec(),
            run: PackedRun::new(&run, detail),
            mask: MaskRuns::new(&mask),
            figures,
        })
    }

    /// Drops small components and counts.
    fn count(&self, mut mask: Vec<u8>, truth: &TrueSlice) -> (Overlap, Vec<u8>) {
        drop_small(&mut mask, self.size, self.size, self.component_area);
        (Overlap::count(&mask, &truth.mask), mask)
    }
}

/// Masks of the real slices of a batch, small components included, and what decided them.
struct Masks {
    /// Row-major `[N, m]`.
    decisions: Vec<ModalityDecision>,
    segmented: Vec<Segmentation>,
    cosines: Vec<f32>,
    /// Those of each end-step ratio.
    ratios: Vec<Vec<Segmentation>>,
}

/// Sequences of a whole batch, on the host: `[N, K, m]` each.
pub(super) struct Traces {
    steps: usize,
    modalities: usize,
    divergence: Vec<f32>,
    mse_h: Vec<f32>,
    mse_null: Vec<f32>,
    /// Sums of S inside and outside the lesion.
    lesion: Option<(Vec<f64>, Vec<f64>)>,
}

impl Traces {
    fn new(strength: &StrengthResult, mse_null: &Tensor) -> Self {
        let shape = mse_null.size();
        let dim = |axis: usize| {
            shape
                .get(axis)
                .map_or(0, |n| usize::try_from(*n).unwrap_or(0))
        };
        Self {
            steps: dim(1),
            modalities: dim(2),
            divergence: numbers(&strength.divergence),
            mse_h: numbers(&strength.mse_h),
            mse_null: numbers(mse_null),
            lesion: strength
                .lesion
                .as_ref()
                .map(|(inside, outside)| (numbers(inside), numbers(outside))),
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
                mse_ratio: self.mse_ratio(slice),
            })
            .collect()
    }

    fn mse_ratio(&self, slice: usize) -> f32 {
        mse_ratio(
            self.part(&self.mse_h, slice),
            self.part(&self.mse_null, slice),
        )
    }

    pub(super) fn figure(&self, slice: usize, truth: &TrueSlice) -> FigureTraces {
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
            trace: self.of(slice),
            inside,
            outside,
        }
    }
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
            run: PackedRun::default(),
            mask: MaskRuns::default(),
            figures: None,
        };
        let rated = traces.rated(vec![score; 2]);
        let ratios: Vec<f32> = rated.iter().map(|slice| slice.mse_ratio).collect();
        assert_eq!(ratios, [2.5, 0.5]);
    }
}
