//! What a method decided on the test slices, counted: where its end steps lie, how its masks came out.

use anofpdm_common::anofpdm::QuantileLevels;

use super::records::Scored;

/// Counts over slices, modalities and noise seeds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// End steps: slices x modalities; none of a baseline.
    pub(super) end_steps: u64,
    /// Of these, at the last forward step.
    pub(super) at_last_step: u64,
    /// Of these, with a divergence above M_max.
    pub(super) above_maximum: u64,
    /// Modality maps without a defined mean.
    pub(super) undefined: u64,
    pub(super) unhealthy: u64,
    /// Of these, with an empty mask before any classification.
    pub(super) empty: u64,
    /// Q* of slices with a lesion.
    pub(super) thresholds: Vec<f32>,
    /// Share of a slice above the quantile that thresholds it, added up over the slices with a lesion.
    masked_share: f64,
    levels: QuantileLevels,
}

impl Tally {
    /// Counts a slice; `last_step` is the index of the last forward step, `maxima` are M_max of the modalities.
    pub(super) fn add(&mut self, slice: &Scored, last_step: u32, maxima: &[f32]) {
        for (decision, maximum) in slice.modalities.iter().zip(maxima) {
            self.end_steps += 1;
            self.at_last_step += u64::from(decision.end_step == last_step);
            self.above_maximum += u64::from(decision.divergence > *maximum);
            self.undefined += u64::from(!decision.defined);
        }
        if slice.overlap.truth == 0 {
            return;
        }
        self.unhealthy += 1;
        self.empty += u64::from(slice.overlap.predicted == 0);
        self.thresholds.extend(slice.q_star);
        let levels = self.levels.table();
        let levels = slice.modalities.iter().map(|decision| {
            let level = levels.get(usize::from(decision.level_index));
            f64::from(level.copied().unwrap_or(1.0))
        });
        let modalities = slice.modalities.len().max(1) as f64;
        self.masked_share += levels.map(|level| 1.0 - level).sum::<f64>() / modalities;
    }

    /// Share of end steps at the last step.
    pub(super) fn cut_off(&self) -> Option<f64> {
        share(self.at_last_step, self.end_steps)
    }

    pub(super) fn clamped(&self) -> Option<f64> {
        share(self.above_maximum, self.end_steps)
    }

    /// Share of the slices with a lesion whose mask is empty.
    pub(super) fn empty_masks(&self) -> Option<f64> {
        share(self.empty, self.unhealthy)
    }

    /// Mean share of a slice with a lesion that lies above the quantile of its level.
    pub(super) fn mean_masked_share(&self) -> Option<f64> {
        (self.unhealthy > 0 && self.end_steps > 0)
            .then(|| self.masked_share / self.unhealthy as f64)
    }

    /// Median Q* of the slices with a lesion; `None` of a baseline, or where no Q* is defined.
    pub(super) fn median_threshold(&self) -> Option<f32> {
        let mut defined: Vec<f32> = self.thresholds.clone();
        defined.retain(|threshold| !threshold.is_nan());
        let middle = defined.len() / 2;
        defined.sort_unstable_by(f32::total_cmp);
        defined.get(middle).copied()
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::overlap::Overlap;
    use anofpdm_common::metrics::{MaskRuns, PackedRun};
    use anofpdm_common::record::ModalityDecision;

    use super::*;

    fn slice(predicted: u32, truth: u32, decisions: &[(u32, f32, u8)], q_star: f32) -> Scored {
        let modalities = decisions
            .iter()
            .map(|&(end_step, divergence, level_index)| ModalityDecision {
                end_step,
                divergence,
                level_index,
                defined: end_step > 0,
            });
        Scored {
            overlap: Overlap {
                pixels: 100,
                predicted,
                truth,
                intersection: 0,
            },
            cosine: Some(0.5),
            mse_ratio: None,
            q_star: Some(q_star),
            modalities: modalities.collect(),
            run: PackedRun::default(),
            mask: MaskRuns::default(),
        }
    }

    #[test]
    fn shares_are_of_end_steps_and_of_slices_with_a_lesion() {
        let mut tally = Tally::default();
        let maxima = [1.0, 2.0];
        tally.add(
            &slice(0, 4, &[(9, 1.5, 100), (3, 1.5, 50)], 0.7),
            9,
            &maxima,
        );
        tally.add(&slice(3, 4, &[(9, 1.0, 0), (0, 2.5, 0)], 0.2), 9, &maxima);
        tally.add(&slice(0, 0, &[(9, 0.1, 0), (9, 0.1, 0)], 0.1), 9, &maxima);
        assert_eq!(tally.cut_off(), Some(4.0 / 6.0));
        assert_eq!(tally.clamped(), Some(2.0 / 6.0));
        assert_eq!(tally.undefined, 1);
        assert_eq!(tally.empty_masks(), Some(0.5));
        assert_eq!(tally.median_threshold(), Some(0.7));
        // Levels 0.90 and 0.94 of the first slice, 0.98 twice of the second.
        let share = tally.mean_masked_share().unwrap();
        assert!((share - (0.08 + 0.02) / 2.0).abs() < 1e-6, "{share}");
    }

    #[test]
    fn a_baseline_has_masks_and_no_end_steps() {
        let mut tally = Tally::default();
        let baseline = Scored {
            q_star: None,
            modalities: Vec::new(),
            ..slice(0, 4, &[], 0.0)
        };
        tally.add(&baseline, 9, &[]);
        assert_eq!(tally.cut_off(), None);
        assert_eq!(tally.mean_masked_share(), None);
        assert_eq!(tally.median_threshold(), None);
        assert_eq!(tally.empty_masks(), Some(1.0));
    }
}
