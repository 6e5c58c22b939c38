//! What a record must look like, given what was asked for.

use crate::metrics::overlap::Overlap;
use crate::metrics::{MaskRuns, PackedRun, RunDetail};
use crate::plan::{
    CellOutput, ExhibitPlan, ForwardPlan, PlanError, Postprocessing, SliceRef, Wanted,
};
use crate::spec::FigureSpec;
use crate::wire::HEADER_LEN;

use super::{
    CandidateScore, Exhibit, FigureTraces, ModalityDecision, Record, RestoredScore, SliceFigures,
    SliceScore, SliceTrace, ThresholdOverlaps,
};

/// Largest index of a quantile level.
const LAST_LEVEL: u8 = 100;

/// Rounding may carry the cosine of two sequences of means this far beyond 0 and 1.
const COSINE_SLACK: f32 = 1e-3;

/// The shape of the record of one cell and batch, from the plan alone: what arrives is measured against it.
#[derive(Debug, Clone, Copy)]
pub struct RecordShape<'a> {
    /// The batch, padding left out.
    pub slices: &'a [SliceRef],
    pub exhibits: &'a ExhibitPlan,
    pub steps: u32,
    pub modalities: usize,
    pub pixels: usize,
    pub output: &'a CellOutput,
}

impl<'a> RecordShape<'a> {
    /// The shape of what `cell` makes of `batch`, on slices of `size` x `size` pixels.
    pub fn of(
        plan: &'a ForwardPlan,
        batch: usize,
        cell: usize,
        size: usize,
    ) -> Result<Self, PlanError> {
        Ok(Self {
            slices: plan.batch(batch)?,
            exhibits: &plan.exhibits,
            steps: plan.steps,
            modalities: plan.data.scored.len(),
            pixels: size * size,
            output: &plan.cell(cell)?.output,
        })
    }

    /// Bytes that no envelope of this shape is longer than: nothing longer need be read.
    pub fn largest(&self) -> u64 {
        // Variant and length; then, for each slice, its numbers and its lists with a length of 8 bytes each.
        let slices = self.slices.iter();
        let slices = slices.map(|slice| self.largest_slice(self.exhibits.of(*slice)));
        (HEADER_LEN as u64) + 4 + 8 + slices.sum::<u64>()
    }

    fn largest_slice(&self, wanted: Wanted) -> u64 {
        const LENGTH: u64 = 8;
        const OVERLAP: u64 = 16;
        const DECISION: u64 = 10;
        let pixels = self.pixels as u64;
        let sequence = LENGTH + 4 * self.sequence() as u64;
        // Detail, count and list of a score run: of a key at most five bytes. Of a mask as many bytes as pixels, and one.
        let run_and_mask = 4 + 4 + LENGTH + 5 * pixels + LENGTH + pixels + 1;
        // Scale, ends and levels.
        let map = 4 + 4 + 4 + LENGTH + 2 * pixels;
        let steps = self.exhibits.step_indices.len() as u64;
        let exhibit = |wanted: Wanted| {
            let map_bytes = if wanted.map { map } else { 0 };
            let sequences = if wanted.sequences { 5 * sequence } else { 0 };
            let steps = if wanted.steps {
                steps * (4 + 2 * map)
            } else {
                0
            };
            1 + u64::from(wanted.any()) * (2 + LENGTH) + map_bytes + sequences + steps
        };
        match self.output {
            CellOutput::Traces => 3 * sequence,
            CellOutput::Overlaps { thresholds, .. } => 8 + LENGTH + 8 * thresholds.len() as u64,
            CellOutput::Restored { .. } => OVERLAP + 4 + run_and_mask,
            CellOutput::Candidate { .. } => OVERLAP + 4 + 4,
            CellOutput::Exhibit { map } => exhibit(wanted.of_map(*map)),
            CellOutput::RestoredExhibit { .. } => exhibit(wanted.of_baseline()),
            CellOutput::Mask {
                figures, mse_ratio, ..
            } => {
                let mut bytes = OVERLAP + 4 + 4;
                if *mse_ratio {
                    bytes += 4;
                }
                bytes += LENGTH + DECISION * self.modalities as u64;
                bytes += run_and_mask;
                bytes += 1;
                if wants(figures) {
                    bytes += 1;
                    if figures.traces {
                        bytes += 5 * sequence;
                    }
                    bytes += LENGTH + OVERLAP * figures.end_step_ratios.len() as u64;
                    bytes += LENGTH + OVERLAP * figures.fixed_thresholds.len() as u64;
                }
                bytes
            }
        }
    }

    /// Values of a sequence: steps x modalities.
    const fn sequence(&self) -> usize {
        self.steps as usize * self.modalities
    }

    pub fn check(&self, record: &Record) -> Result<(), String> {
        if record.len() != self.slices.len() {
            let found = record.len();
            return Err(format!("{found} slices instead of {}", self.slices.len()));
        }
        match (record, self.output) {
            (Record::Traces(traces), CellOutput::Traces) => {
                traces.iter().try_for_each(|trace| self.trace(trace))
            }
            (
                Record::Masks(scores),
                CellOutput::Mask {
                    figures,
                    mse_ratio: false,
                    scores: detail,
                    ..
                },
            ) => scores
                .iter()
                .try_for_each(|score| self.score(score, figures, *detail)),
            (
                Record::RatedMasks(scores),
                CellOutput::Mask {
                    figures,
                    mse_ratio: true,
                    scores: detail,
                    ..
                },
            ) => scores.iter().try_for_each(|rated| {
                ratio(rated.mse_ratio)?;
                self.score(&rated.score, figures, *detail)
            }),
            (Record::Overlaps(slices), CellOutput::Overlaps { thresholds, .. }) => slices
                .iter()
                .try_for_each(|slice| self.overlaps(slice, thresholds.len())),
            (
                Record::Restored(scores),
                CellOutput::Restored {
                    postprocessing,
                    scores: detail,
                    ..
                },
            ) => scores
                .iter()
                .try_for_each(|score| self.restored(score, *postprocessing, *detail)),
            (Record::Candidates(scores), CellOutput::Candidate { .. }) => {
                scores.iter().try_for_each(|score| self.candidate(score))
            }
            (Record::Exhibits(exhibits), CellOutput::Exhibit { map }) => {
                self.all_exhibits(exhibits, |wanted| wanted.of_map(*map))
            }
            (Record::Exhibits(exhibits), CellOutput::RestoredExhibit { .. }) => {
                self.all_exhibits(exhibits, Wanted::of_baseline)
            }
            _ => Err("another kind of record than was asked for".to_owned()),
        }
    }

    fn trace(&self, trace: &SliceTrace) -> Result<(), String> {
        self.means("divergence", &trace.divergence)?;
        self.means("mse_h", &trace.mse_h)?;
        self.means("mse_null", &trace.mse_null)
    }

    /// A sequence of means of squares.
    fn means(&self, name: &str, values: &[f32]) -> Result<(), String> {
        self.length(name, values)?;
        match values.iter().find(|value| !is_mean(**value)) {
            None => Ok(()),
            Some(value) => Err(format!("{name} holds {value}, which is no mean of squares")),
        }
    }

    fn length(&self, name: &str, values: &[f32]) -> Result<(), String> {
        if values.len() != self.sequence() {
            let (found, wanted) = (values.len(), self.sequence());
            return Err(format!("{name} has {found} values instead of {wanted}"));
        }
        Ok(())
    }

    fn score(
        &self,
        score: &SliceScore,
        asked: &FigureSpec,
        detail: RunDetail,
    ) -> Result<(), String> {
        let overlap = self.overlap(score.overlap)?;
        cosine(score.cosine)?;
        self.decisions(score, overlap)?;
        self.run(&score.run, detail, overlap)?;
        self.mask(&score.mask, overlap)?;
        match &score.figures {
            None if !wants(asked) => Ok(()),
            Some(figures) if wants(asked) => self.figures(figures, asked, overlap),
            _ => Err("figure data that was not asked for, or none that was".to_owned()),
        }
    }

    fn overlaps(&self, slice: &ThresholdOverlaps, thresholds: usize) -> Result<(), String> {
        if slice.at.len() != thresholds {
            let found = slice.at.len();
            return Err(format!("{found} thresholds instead of {thresholds}"));
        }
        (0..thresholds)
            .filter_map(|index| slice.overlap(index))
            .try_for_each(|overlap| self.overlap(overlap).map(|_| ()))
    }

    fn restored(
        &self,
        score: &RestoredScore,
        postprocessing: Postprocessing,
        detail: RunDetail,
    ) -> Result<(), String> {
        let overlap = self.overlap(score.overlap)?;
        let sound = match postprocessing {
            Postprocessing::Common { threshold } => {
                score.threshold.to_bits() == threshold.to_bits()
            }
            Postprocessing::Native => score.threshold.is_finite(),
        };
        if !sound {
            return Err(format!("a mask at a threshold of {}", score.threshold));
        }
        self.run(&score.run, detail, overlap)?;
        self.mask(&score.mask, overlap)
    }

    fn candidate(&self, score: &CandidateScore) -> Result<(), String> {
        self.overlap(score.overlap)?;
        cosine(score.cosine)?;
        ratio(score.mse_ratio)
    }

    /// What the plan wants to be seen of each slice, and nothing else.
    fn all_exhibits(
        &self,
        exhibits: &[Option<Box<Exhibit>>],
        of_cell: impl Fn(Wanted) -> Wanted,
    ) -> Result<(), String> {
        let mut slices = exhibits.iter().zip(self.slices);
        slices.try_for_each(|(exhibit, slice)| {
            let wanted = of_cell(self.exhibits.of(*slice));
            let exhibit = exhibit.as_deref();
            if exhibit.is_some() != wanted.any() {
                return Err("an exhibit that was not asked for, or none that was".to_owned());
            }
            exhibit.map_or(Ok(()), |exhibit| self.exhibit(exhibit, wanted))
        })
    }

    fn exhibit(&self, exhibit: &Exhibit, wanted: Wanted) -> Result<(), String> {
        let indices = &self.exhibits.step_indices;
        let steps = exhibit.steps.iter().map(|maps| maps.step);
        let complete = exhibit.map.is_some() == wanted.map
            && exhibit.sequences.is_some() == wanted.sequences
            && match wanted.steps {
                true => steps.eq(indices.iter().copied()),
                false => exhibit.steps.is_empty(),
            };
        if !complete {
            return Err("an exhibit that holds more or less than was asked for".to_owned());
        }
        let of_steps = exhibit.steps.iter();
        let of_steps = of_steps.flat_map(|maps| [&maps.squared_error, &maps.gradient]);
        exhibit
            .map
            .iter()
            .chain(of_steps)
            .try_for_each(|map| map.check(self.pixels))?;
        let sequences = exhibit.sequences.as_deref();
        sequences.map_or(Ok(()), |sequences| self.figure_traces(sequences))
    }

    fn overlap(&self, overlap: Overlap) -> Result<Overlap, String> {
        let overlap = overlap.check().map_err(|error| error.to_string())?;
        if overlap.pixels as usize != self.pixels {
            let found = overlap.pixels;
            return Err(format!("{found} pixels instead of {}", self.pixels));
        }
        Ok(overlap)
    }

    fn decisions(&self, score: &SliceScore, overlap: Overlap) -> Result<(), String> {
        let decided = &score.modalities;
        if decided.len() != self.modalities {
            return Err(format!("decisions for {} modalities", decided.len()));
        }
        let possible = |decision: &ModalityDecision| {
            decision.end_step < self.steps
                && decision.level_index <= LAST_LEVEL
                && is_mean(decision.divergence)
        };
        if let Some(wrong) = decided.iter().find(|decision| !possible(decision)) {
            return Err(format!("a decision out of range: {wrong:?}"));
        }
        // Where a map is undefined there is no threshold and nothing is predicted.
        let sound = if decided.iter().all(|decision| decision.defined) {
            is_mean(score.q_star)
        } else {
            score.q_star.is_nan() && overlap.predicted == 0
        };
        if !sound {
            let (q_star, predicted) = (score.q_star, overlap.predicted);
            return Err(format!(
                "a threshold of {q_star} with {predicted} pixels predicted"
            ));
        }
        Ok(())
    }

    /// Foreground pixels with their labels: no more of either label than the slice has.
    fn run(&self, run: &PackedRun, detail: RunDetail, overlap: Overlap) -> Result<(), String> {
        let anomalous = run.check(detail, self.pixels)?;
        let (keys, truth) = (run.len() as u64, u64::from(overlap.truth));
        if anomalous > truth || keys - anomalous > self.pixels as u64 - truth {
            return Err(format!(
                "a score run with {anomalous} of {truth} anomalous pixels in {keys} keys"
            ));
        }
        Ok(())
    }

    fn mask(&self, mask: &MaskRuns, overlap: Overlap) -> Result<(), String> {
        let set = mask.count(self.pixels)?;
        if set != overlap.predicted as usize {
            return Err(format!(
                "a mask of {set} pixels where {} are predicted",
                overlap.predicted
            ));
        }
        Ok(())
    }

    fn figures(
        &self,
        figures: &SliceFigures,
        asked: &FigureSpec,
        overlap: Overlap,
    ) -> Result<(), String> {
        match &figures.traces {
            None if !asked.traces => {}
            Some(traces) if asked.traces => self.figure_traces(traces)?,
            _ => return Err("figure traces that were not asked for, or none that were".to_owned()),
        }
        for (name, found, wanted) in [
            (
                "end-step ratios",
                &figures.end_step_ratios,
                asked.end_step_ratios.len(),
            ),
            (
                "fixed thresholds",
                &figures.fixed_thresholds,
                asked.fixed_thresholds.len(),
            ),
        ] {
            if found.len() != wanted {
                return Err(format!("{} {name} instead of {wanted}", found.len()));
            }
            for other in found {
                if self.overlap(*other)?.truth != overlap.truth {
                    return Err(format!("{name} of another truth"));
                }
            }
        }
        Ok(())
    }

    fn figure_traces(&self, traces: &FigureTraces) -> Result<(), String> {
        self.trace(&traces.trace)?;
        for (name, values) in [("inside", &traces.inside), ("outside", &traces.outside)] {
            self.length(name, values)?;
            // NaN: nothing is inside, or nothing outside.
            let possible = |value: &f32| value.is_nan() || is_mean(*value);
            if let Some(wrong) = values.iter().find(|value| !possible(value)) {
                return Err(format!("{name} holds {wrong}"));
            }
        }
        Ok(())
    }
}

/// Whether a cell with this wish keeps figure data.
const fn wants(figures: &FigureSpec) -> bool {
    figures.traces || !figures.end_step_ratios.is_empty() || !figures.fixed_thresholds.is_empty()
}

fn cosine(cosine: f32) -> Result<(), String> {
    let possible = -COSINE_SLACK..=1.0 + COSINE_SLACK;
    if possible.contains(&cosine) {
        Ok(())
    } else {
        Err(format!("a cosine of {cosine}"))
    }
}

fn ratio(ratio: f32) -> Result<(), String> {
    if is_mean(ratio) {
        Ok(())
    } else {
        Err(format!("a ratio of {ratio}"))
    }
}

/// Finite and not negative.
fn is_mean(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests;
