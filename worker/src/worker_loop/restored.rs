//! From the restored slices of a batch to the records of a baseline's cells: maps, masks, statistics.

use anofpdm_common::anofpdm::{drop_small, mask_at};
use anofpdm_common::baseline::{Baseline, NATIVE_THRESHOLD, NativeRule};
use anofpdm_common::baseline_masks::{otsu, threshold_overlaps};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::score_run;
use anofpdm_common::metrics::{MaskRuns, PackedRun, RunDetail};
use anofpdm_common::plan::{Cell, CellOutput, Postprocessing, Wanted};
use anofpdm_common::record::{Exhibit, KeptMap, Record, RestoredScore};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::anofpdm::segmentation::median_batch;
use crate::baselines::{Difference, Restored};
use crate::host::numbers;

use super::batch_reader::TrueSlice;
use super::score::ScoringError;

/// What the records of a batch need beside its restorations.
pub(super) struct RestoredScoring<'a> {
    pub(super) baseline: Baseline,
    /// The slices, f32 `[N, C, H, W]`, padding included.
    pub(super) x0: &'a Tensor,
    /// Channels that maps are made of.
    pub(super) modalities: &'a [i64],
    /// Components up to this many pixels are dropped.
    pub(super) component_area: u32,
    /// Side of the median filter, pixels.
    pub(super) median: u32,
    /// Side of a slice, pixels.
    pub(super) size: usize,
    /// The real slices of the batch, padding left out.
    pub(super) truth: &'a [TrueSlice],
    /// What is kept of each of these to be looked at.
    pub(super) wanted: &'a [Wanted],
}

/// Maps of the real slices, and how a threshold on one is found.
struct Maps {
    values: Vec<Vec<f32>>,
    /// Whether values can be negative.
    signed: bool,
}

/// Where a threshold comes from.
#[derive(Clone, Copy)]
enum Rule {
    At(f32),
    Otsu,
}

impl RestoredScoring<'_> {
    /// The record of `cell`, from the restoration at its setting.
    pub(super) fn record(&self, restored: &Restored, cell: &Cell) -> Result<Record, ScoringError> {
        match &cell.output {
            CellOutput::Overlaps { thresholds, .. } => Ok(self.overlaps(restored, thresholds)),
            CellOutput::Restored {
                postprocessing,
                scores: detail,
                ..
            } => {
                let (maps, rule) = self.maps(restored, *postprocessing)?;
                self.scores(&maps, rule, *detail)
            }
            CellOutput::RestoredExhibit { postprocessing, .. } => {
                let wants = self.wanted.iter().any(|wanted| wanted.of_baseline().any());
                let maps = match wants {
                    true => self.maps(restored, *postprocessing)?.0.values,
                    false => Vec::new(),
                };
                let exhibits = self.wanted.iter().enumerate().map(|(slice, wanted)| {
                    let map = maps.get(slice).filter(|_| wanted.of_baseline().any())?;
                    Some(Box::new(Exhibit {
                        map: Some(KeptMap::new(map)),
                        ..Exhibit::default()
                    }))
                });
                Ok(Record::Exhibits(exhibits.collect()))
            }
            CellOutput::Traces
            | CellOutput::Mask { .. }
            | CellOutput::Candidate { .. }
            | CellOutput::Exhibit { .. } => Err(ScoringError::Missing("sequences of AnoFPDM")),
        }
    }

    /// The maps that masks are made of, and how.
    fn maps(
        &self,
        restored: &Restored,
        postprocessing: Postprocessing,
    ) -> Result<(Maps, Rule), ScoringError> {
        match postprocessing {
            Postprocessing::Common { threshold } => {
                Ok((self.common(restored), Rule::At(threshold)))
            }
            Postprocessing::Native => self.native(restored),
        }
    }

    fn overlaps(&self, restored: &Restored, thresholds: &[f32]) -> Record {
        let (size, area) = ((self.size, self.size), self.component_area);
        let maps = self.common(restored).values;
        let overlaps = maps
            .par_iter()
            .zip(self.truth)
            .map(|(map, truth)| threshold_overlaps(map, &truth.mask, size, thresholds, area));
        Record::Overlaps(overlaps.collect())
    }

    /// The map that all baselines share, median-filtered.
    fn common(&self, restored: &Restored) -> Maps {
        let mut filtered = median_batch(&restored.map(self.x0, self.modalities), self.median);
        filtered.truncate(self.truth.len());
        Maps {
            values: filtered,
            signed: matches!(restored.difference, Difference::Signed(_)),
        }
    }

    /// The map and the rule of the method's authors. None of them filters the map.
    fn native(&self, restored: &Restored) -> Result<(Maps, Rule), ScoringError> {
        let rule = self.baseline.native_rule();
        let rule = rule.ok_or(ScoringError::Missing("native post-processing"))?;
        let (raw, rule) = match (rule, &restored.difference) {
            // The sum over the modalities of |x0 - target|.
            (NativeRule::Otsu, Difference::Squared) => {
                let channels = Tensor::from_slice(self.modalities).to_device(self.x0.device());
                let difference = (self.x0 - &restored.target).index_select(1, &channels);
                let sum = difference.abs().sum_dim_intlist(1_i64, true, Kind::Float);
                (sum, Rule::Otsu)
            }
            (NativeRule::Otsu, _) => (restored.map(self.x0, self.modalities), Rule::Otsu),
            (NativeRule::Fixed, _) => (
                restored.map(self.x0, self.modalities),
                Rule::At(NATIVE_THRESHOLD),
            ),
        };
        let raw = numbers::<f32>(&raw);
        let planes = raw.chunks(self.size * self.size).take(self.truth.len());
        let maps = Maps {
            values: planes.map(<[f32]>::to_vec).collect(),
            signed: matches!(restored.difference, Difference::Signed(_)),
        };
        Ok((maps, rule))
    }

    fn scores(&self, maps: &Maps, rule: Rule, detail: RunDetail) -> Result<Record, ScoringError> {
        let (size, area) = (self.size, self.component_area);
        maps.values
            .par_iter()
            .zip(self.truth)
            .enumerate()
            .map(|(slice, (map, truth))| {
                let threshold = match rule {
                    Rule::At(threshold) => threshold,
                    Rule::Otsu => otsu(map),
                };
                let mut mask = mask_at(map, threshold);
                drop_small(&mut mask, size, size, area);
                let ranks = maps.signed.then(|| ranks(map));
                let scores = ranks.as_deref().unwrap_or(map);
                let run = score_run(scores, &truth.mask, Some(&truth.foreground))
                    .map_err(|source| ScoringError::Score { slice, source })?;
                Ok(RestoredScore {
                    overlap: Overlap::count(&mask, &truth.mask),
                    threshold,
                    run: PackedRun::new(&run, detail),
                    mask: MaskRuns::new(&mask),
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Record::Restored)
    }
}

/// Scores that are not negative in the order of values that may be: only the order counts for average precision. The
/// bits of a float, with those of negative ones inverted, order as the floats do; half of that number is the bits of a
/// score. Two values next to each other may become one score. NaN stays NaN.
fn ranks(map: &[f32]) -> Vec<f32> {
    map.iter()
        .map(|value| {
            if value.is_nan() {
                return f32::NAN;
            }
            // Adding zero turns -0 into 0.
            let bits = (value + 0.0).to_bits();
            let ordered = if bits >> 31 == 0 {
                bits | 1 << 31
            } else {
                !bits
            };
            f32::from_bits(ordered >> 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_the_order_of_signed_values() {
        let values = [
            -1e6, -2.0, -1.0, -1e-3, -0.0, 0.0, 1e-30, 0.25, 0.5, 3.0, 1e6,
        ];
        let scores = ranks(&values);
        assert!(
            scores
                .iter()
                .all(|score| score.is_finite() && *score >= 0.0)
        );
        assert_eq!(scores[4], scores[5], "zero is zero");
        let apart: Vec<f32> = [&scores[..4], &scores[5..]].concat();
        assert!(apart.is_sorted_by(|a, b| a < b), "{scores:?}");
        assert!(ranks(&[f32::NAN])[0].is_nan());
        // A score of infinity or more cannot be ranked, and no map of slices in [-1, 1] comes near.
        assert!(ranks(&[1e38])[0] >= f32::MAX / 4.0);
    }
}
