//! The numbers of a table cell from per-slice statistics: one definition for runs and for arrays of any other program.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::overlap::PooledOverlap;
use super::run_metrics::RunMetrics;
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};

/// The numbers of one set-up, as fractions. `None` where there is nothing to form a number from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Section {
    pub dice: Option<f64>,
    pub iou: Option<f64>,
    /// Average precision of all scored pixels together.
    pub auprc: Option<f64>,
    /// Mean average precision over batches of slices.
    pub auprc_batch: Option<f64>,
    /// Area under the ROC curve of all scored pixels together.
    pub auroc: Option<f64>,
    /// False positive rate of the same pixels where 95 % of the anomalous ones are found.
    pub fpr95: Option<f64>,
    /// Precision of the pooled pixels.
    pub precision: Option<f64>,
    /// Recall of the pooled pixels.
    pub recall: Option<f64>,
    pub slices: usize,
}

/// The numbers of both set-ups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub mixed: Section,
    pub unhealthy: Section,
}

/// Evaluates slices given in the order of the slice list.
///
/// `runs` holds the sorted score runs by slice index; without it what they are needed for is `None`. `batch` is
/// the number of slices in a batch of `auprc_batch`. Sums are formed in slice order in f64.
pub fn evaluate<S: RunSource + ?Sized>(
    slices: &[SliceStatistics],
    runs: Option<&S>,
    batch: NonZeroUsize,
) -> Result<Evaluation, S::Error> {
    let counted = runs
        .map(|runs| RunMetrics::count(runs, slices, batch))
        .transpose()?;
    let section = |setup| section(slices, counted.as_ref(), setup);
    Ok(Evaluation {
        mixed: section(Setup::Mixed),
        unhealthy: section(Setup::Unhealthy),
    })
}

/// The numbers of one set-up, with those of the score runs where these were counted.
pub fn section(slices: &[SliceStatistics], runs: Option<&RunMetrics>, setup: Setup) -> Section {
    let (mut dice, mut iou, mut count) = (0.0, 0.0, 0_usize);
    let mut pooled = PooledOverlap::default();
    for (_, overlap) in setup.slices(slices) {
        dice += overlap.dice();
        iou += overlap.iou();
        pooled.add(overlap);
        count += 1;
    }
    let runs = runs.map(|runs| runs.of(setup));
    let ranking = runs.map(|runs| runs.ranking).unwrap_or_default();
    let of_slices = |value: f64| (count > 0).then_some(value);
    Section {
        dice: of_slices(dice / count as f64),
        iou: of_slices(iou / count as f64),
        auprc: ranking.average_precision,
        auprc_batch: runs.and_then(|runs| runs.batch_average_precision),
        auroc: ranking.auroc,
        fpr95: ranking.fpr_at_95_tpr,
        precision: of_slices(pooled.precision()),
        recall: of_slices(pooled.recall()),
        slices: count,
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch_ap::REFERENCE_BATCH;
    use super::super::overlap::Overlap;
    use super::*;

    const NO_RUNS: Option<&[Vec<u32>]> = None;

    fn slice(unhealthy: bool, classified_unhealthy: bool, overlap: [u32; 3]) -> SliceStatistics {
        let [predicted, truth, intersection] = overlap;
        SliceStatistics {
            patient: 0,
            unhealthy,
            classified_unhealthy,
            overlap: Overlap {
                pixels: 100,
                predicted,
                truth,
                intersection,
            },
        }
    }

    #[test]
    fn a_slice_classified_healthy_is_empty_in_mixed_only() {
        let slices = [
            slice(true, false, [10, 10, 10]),
            slice(false, false, [5, 0, 0]),
        ];
        let result = evaluate(&slices, NO_RUNS, REFERENCE_BATCH).unwrap();
        // The missed lesion scores about 0, the healthy slice exactly 1.
        assert!((result.mixed.dice.unwrap() - 0.5).abs() < 1e-6);
        assert_eq!(result.mixed.recall, Some(0.0));
        assert_eq!(result.unhealthy.dice, Some(1.0));
        assert_eq!((result.mixed.slices, result.unhealthy.slices), (2, 1));
        assert_eq!(result.mixed.auprc, None);
    }

    #[test]
    fn without_slices_nothing_is_defined() {
        let result = evaluate(&[slice(false, true, [1, 0, 0])], NO_RUNS, REFERENCE_BATCH).unwrap();
        assert_eq!(result.unhealthy.dice, None);
        assert_eq!(result.unhealthy.precision, None);
        assert_eq!(result.mixed.precision, Some(0.0));
    }
}
