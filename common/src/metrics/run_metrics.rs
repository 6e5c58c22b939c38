//! Everything that the score runs of one noise seed say, from as few passes over them as memory allows.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use super::average_precision::slice_average_precision;
use super::batch_ap::{BatchMean, batch_average_precision};
use super::best_dice::{BestDice, DiceCurve, SliceCurve};
use super::bootstrap::PatientHistograms;
use super::histogram_ap::{Resolution, ScoreHistogram};
use super::pixel_ranking::{PixelRanking, average_precisions, pixel_rankings};
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};

/// Longest batch whose runs are held in memory, slices; longer ones are read again.
const LONGEST_BATCH: usize = 256;
/// Batches in memory at a time.
const BATCHES_BESIDE: usize = 8;

#[derive(Debug, Clone, Default)]
pub struct RunMetrics {
    /// Average precision of each slice's own pixels; `None` without pixels, 0 without positives.
    pub slice_average_precision: Vec<Option<f64>>,
    setups: [SetupMetrics; 2],
}

/// The numbers of one set-up.
#[derive(Debug, Clone, Default)]
pub struct SetupMetrics {
    pub ranking: PixelRanking,
    /// Mean average precision over batches.
    pub batch_average_precision: Option<f64>,
    pub best_dice: Option<BestDice>,
    /// Scored pixels of each patient that has some.
    pub patients: PatientHistograms,
}

/// What is counted of one slice beside the others.
struct CountedSlice {
    average_precision: Option<f64>,
    histogram: ScoreHistogram,
    curve: Option<SliceCurve>,
    has_pixels: bool,
}

impl RunMetrics {
    pub const fn of(&self, setup: Setup) -> &SetupMetrics {
        match setup {
            Setup::Mixed => &self.setups[0],
            Setup::Unhealthy => &self.setups[1],
        }
    }

    /// Counts the runs of all of `slices`; `batch` is the number of slices in a batch of the batch mean.
    pub fn count<S: RunSource + ?Sized>(
        source: &S,
        slices: &[SliceStatistics],
        batch: NonZeroUsize,
    ) -> Result<Self, S::Error> {
        let mut metrics = Self::default();
        let batch_fits = batch.get() <= LONGEST_BATCH;
        let chunk = batch.get().min(LONGEST_BATCH);
        let beside = rayon::current_num_threads().min(BATCHES_BESIDE);
        let mut batches = Setup::ALL.map(BatchMean::of);
        let mut curves = [DiceCurve::default(), DiceCurve::default()];
        let mut first = 0;
        while first < slices.len() {
            let here = first..slices.len().min(first + beside * chunk);
            let mut runs: Vec<Vec<u32>> = Vec::with_capacity(here.len());
            let indices: Vec<usize> = here.clone().collect();
            source.visit_runs(&indices, &mut |_, run| runs.push(run.to_vec()))?;
            let counted: Vec<(Vec<CountedSlice>, [Option<f64>; 2])> = slices[here.clone()]
                .par_chunks(chunk)
                .zip(runs.par_chunks(chunk))
                .map(|(slices, runs)| {
                    let of_slices = slices.par_iter().zip(runs);
                    let counted = of_slices.map(|(slice, run)| CountedSlice::of(slice, run));
                    let counted = counted.collect();
                    let averages = match batch_fits {
                        true => batch_averages(slices, runs),
                        false => [None; 2],
                    };
                    (counted, averages)
                })
                .collect();
            for ((of_slices, averages), slices) in
                counted.into_iter().zip(slices[here.clone()].chunks(chunk))
            {
                for (mean, average) in batches.iter_mut().zip(averages) {
                    mean.add(slices, average);
                }
                for (slice, counted) in slices.iter().zip(of_slices) {
                    metrics.add_slice(slice, &counted, &mut curves);
                }
            }
            first = here.end;
        }
        let rankings = pixel_rankings(source, slices)?;
        for (number, setup) in Setup::ALL.into_iter().enumerate() {
            let of_setup = &mut metrics.setups[number];
            of_setup.ranking = rankings[number];
            of_setup.best_dice = curves[number].best();
            of_setup.batch_average_precision = match batch_fits {
                true => batches[number].mean(),
                false => batch_average_precision(source, slices, batch, setup)?,
            };
        }
        Ok(metrics)
    }

    /// In the order of the slices: sums of floats keep their bits.
    fn add_slice(
        &mut self,
        slice: &SliceStatistics,
        counted: &CountedSlice,
        curves: &mut [DiceCurve; 2],
    ) {
        self.slice_average_precision.push(counted.average_precision);
        for ((setup, of_setup), curve) in Setup::ALL.into_iter().zip(&mut self.setups).zip(curves) {
            if !setup.includes(slice) {
                continue;
            }
            let thresholded = setup == Setup::Unhealthy || slice.classified_unhealthy;
            match counted.curve.as_ref().filter(|_| thresholded) {
                Some(of_slice) => curve.add(of_slice),
                None => curve.add_empty(slice.overlap),
            }
            if counted.has_pixels {
                of_setup
                    .patients
                    .entry(slice.patient)
                    .or_insert_with(|| ScoreHistogram::empty(Resolution::Coarse))
                    .merge(&counted.histogram);
            }
        }
    }
}

impl CountedSlice {
    fn of(slice: &SliceStatistics, run: &[u32]) -> Self {
        let histogram = ScoreHistogram::from_run(run, Resolution::Coarse);
        let thresholded = slice.unhealthy || slice.classified_unhealthy;
        Self {
            average_precision: slice_average_precision(run),
            curve: thresholded.then(|| SliceCurve::new(slice.overlap, &histogram)),
            histogram,
            has_pixels: !run.is_empty(),
        }
    }
}

/// Average precision of one batch, in the order of [`Setup::ALL`].
fn batch_averages(slices: &[SliceStatistics], runs: &[Vec<u32>]) -> [Option<f64>; 2] {
    let keys = |unhealthy: bool| {
        let of_slices = slices.iter().zip(runs);
        let wanted = of_slices.filter(|(slice, _)| Setup::Unhealthy.includes(slice) == unhealthy);
        let mut keys: Vec<u32> = wanted.flat_map(|(_, run)| run).copied().collect();
        // Stable, since it merges the runs as they are.
        keys.sort();
        keys
    };
    let [unhealthy, all] = average_precisions(&keys(true), &keys(false));
    [all, unhealthy]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::average_precision::average_precision;
    use super::super::collected_runs::CollectedRuns;
    use super::super::overlap::Overlap;
    use super::super::score_run::score_run;
    use super::*;

    type Pixels = Vec<(u8, u8)>;

    proptest! {
        /// Against each number counted by itself.
        #[test]
        fn one_pass_gives_what_each_alone_gives(
            slices in prop::collection::vec(
                (prop::collection::vec((0_u8..9, 0_u8..2), 0..20), any::<bool>(), 0_u32..3), 0..40
            ),
            batch in 1_usize..12,
        ) {
            let slices: Vec<(Pixels, bool, u32)> = slices;
            let mut runs = CollectedRuns::default();
            let statistics: Vec<SliceStatistics> = slices
                .iter()
                .map(|(pixels, called, patient)| {
                    let (scores, labels): (Vec<f32>, Vec<u8>) =
                        pixels.iter().map(|(score, label)| (f32::from(*score) / 4.0, *label)).unzip();
                    runs.push(&score_run(&scores, &labels, None).unwrap(), usize::MAX);
                    let overlap = Overlap::count(&vec![0; labels.len()], &labels);
                    SliceStatistics {
                        patient: *patient,
                        unhealthy: overlap.truth > 0,
                        classified_unhealthy: *called,
                        overlap,
                    }
                })
                .collect();
            let batch = NonZeroUsize::new(batch).unwrap();
            let Ok(found) = RunMetrics::count(&runs, &statistics, batch);
            for setup in Setup::ALL {
                let of_setup = found.of(setup);
                let Ok(precision) = average_precision(&runs, &setup.indices(&statistics));
                prop_assert_eq!(of_setup.ranking.average_precision, precision);
                let Ok(batched) = batch_average_precision(&runs, &statistics, batch, setup);
                prop_assert_eq!(of_setup.batch_average_precision, batched);
                let pixels: u64 = of_setup
                    .patients
                    .values()
                    .flat_map(|histogram| histogram.bins())
                    .map(|bin| bin.positives + bin.negatives)
                    .sum();
                let want: usize = setup.indices(&statistics).iter().map(|i| slices[*i].0.len()).sum();
                prop_assert_eq!(pixels, want as u64);
                prop_assert_eq!(of_setup.best_dice.is_some(), setup.slices(&statistics).count() > 0);
            }
            for (index, average) in found.slice_average_precision.iter().enumerate() {
                let Ok(alone) = average_precision(&runs, &[index]);
                prop_assert_eq!(*average, alone);
            }
        }
    }
}
