//! `auprc_batch`: the mean of the average precision of consecutive batches, as the public code forms it.

use std::num::NonZeroUsize;

use super::average_precision::average_precision;
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};

/// Slices in a batch of the public evaluation.
pub const REFERENCE_BATCH: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Walks the slices in order in batches of `batch`, the last one as short as it comes, and averages.
///
/// Mixed: every batch counts alike, one without positives as 0. Unhealthy: a batch's average precision is that of
/// its unhealthy slices and it weighs as many as it has of them. A batch without a pixel to score (or, unhealthy,
/// without such a slice) weighs nothing. `None` when nothing has weight.
pub fn batch_average_precision<S: RunSource + ?Sized>(
    source: &S,
    slices: &[SliceStatistics],
    batch: NonZeroUsize,
    setup: Setup,
) -> Result<Option<f64>, S::Error> {
    let all: Vec<usize> = (0..slices.len()).collect();
    let mut mean = BatchMean::of(setup);
    for (indices, batch) in all.chunks(batch.get()).zip(slices.chunks(batch.get())) {
        let included: Vec<usize> = indices
            .iter()
            .copied()
            .filter(|index| setup.includes(&slices[*index]))
            .collect();
        mean.add(batch, average_precision(source, &included)?);
    }
    Ok(mean.mean())
}

/// The mean over batches of one set-up, fed batch by batch.
#[derive(Debug)]
pub(super) struct BatchMean {
    setup: Setup,
    sum: f64,
    total: f64,
}

impl BatchMean {
    pub(super) const fn of(setup: Setup) -> Self {
        Self {
            setup,
            sum: 0.0,
            total: 0.0,
        }
    }

    /// Takes in the average precision of the set-up's slices among those of a batch; `None` where there is no pixel.
    pub(super) fn add(&mut self, batch: &[SliceStatistics], average: Option<f64>) {
        let Some(value) = average else {
            return;
        };
        let weight = match self.setup {
            Setup::Mixed => 1.0,
            Setup::Unhealthy => self.setup.slices(batch).count() as f64,
        };
        self.sum += weight * value;
        self.total += weight;
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.sum / self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::super::overlap::Overlap;
    use super::super::score_run::score_run;
    use super::*;

    /// One slice: two pixels, the lesion (if any) scored `lesion`, the other pixel 0.5.
    fn slice(unhealthy: bool, lesion: f32) -> (SliceStatistics, Vec<u32>) {
        let statistics = SliceStatistics {
            patient: 0,
            unhealthy,
            classified_unhealthy: true,
            overlap: Overlap::default(),
        };
        let run = score_run(&[lesion, 0.5], &[u8::from(unhealthy), 0], None).unwrap();
        (statistics, run)
    }

    fn both(slices: Vec<(SliceStatistics, Vec<u32>)>, batch: usize) -> [Option<f64>; 2] {
        let (statistics, runs): (Vec<_>, Vec<_>) = slices.into_iter().unzip();
        let batch = NonZeroUsize::new(batch).unwrap();
        Setup::ALL.map(|setup| {
            batch_average_precision(runs.as_slice(), &statistics, batch, setup).unwrap()
        })
    }

    #[test]
    fn batches_weigh_alike_mixed_and_by_unhealthy_slices_otherwise() {
        // Batches: two found lesions; one missed lesion; a healthy slice alone.
        let slices = vec![
            slice(true, 0.9),
            slice(true, 0.9),
            slice(true, 0.1),
            slice(false, 0.9),
            slice(false, 0.9),
        ];
        // The second mixed batch ranks its lesion last of four: 1/4; unhealthy: last of two.
        let [mixed, unhealthy] = both(slices, 2);
        assert_eq!(mixed, Some((1.0 + 0.25 + 0.0) / 3.0));
        assert_eq!(unhealthy, Some((2.0 * 1.0 + 1.0 * 0.5) / 3.0));
    }

    #[test]
    fn without_unhealthy_slices_one_of_the_two_is_undefined() {
        assert_eq!(both(vec![slice(false, 0.9)], 100), [Some(0.0), None]);
        assert_eq!(both(Vec::new(), 100), [None, None]);
    }
}
