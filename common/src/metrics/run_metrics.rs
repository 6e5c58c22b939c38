//! Everything that the score runs of one noise seed say, from as few passes over them as memory allows.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use rayon::prelude::*;

use super::average_precision::slice_average_precision;
use super::batch_ap::{BatchMean, batch_average_precision};
use super::best_dice::{BestDice, DiceCurve, SliceCurve};
use super::bootstrap::PatientHistograms;
use super::histogram_ap::{BinCounts, Resolution, ScoreHistogram};
use super::pixel_ranking::{
    Kinds, PixelRanking, average_precisions, pixel_rankings, rankings_of_batches,
};
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};

/// Longest batch whose runs are held in memory, slices; longer ones are read again.
const LONGEST_BATCH: usize = 256;
/// Batches in memory at a time.
const BATCHES_BESIDE: usize = 8;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunMetrics {
    /// Average precision of each slice's own pixels; `None` without pixels, 0 without positives.
    pub slice_average_precision: Vec<Option<f64>>,
    setups: [SetupMetrics; 2],
}

/// The numbers of one set-up.
#[derive(Debug, Clone, Default, PartialEq)]
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
    curve: Option<SliceCurve>,
    /// Where it is to be added to that of its patient: of a slice with pixels whose run will not be read again.
    histogram: Option<ScoreHistogram>,
}

/// The slices of one batch together.
struct Batch {
    /// In the order of [`Setup::ALL`].
    averages: [Option<f64>; 2],
    /// Sorted keys of its slices.
    keys: Kinds<Vec<u32>>,
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
        let at_hand = source.in_memory();
        // Of a source in memory there is room for its keys once more.
        let mut sorted = <Kinds<Vec<Vec<u32>>>>::default();
        let mut first = 0;
        while first < slices.len() {
            let here = first..slices.len().min(first + beside * chunk);
            let mut runs: Vec<Vec<u32>> = Vec::with_capacity(here.len());
            let indices: Vec<usize> = here.clone().collect();
            source.visit_runs(&indices, &mut |_, run| runs.push(run.to_vec()))?;
            let counted: Vec<(Vec<CountedSlice>, Batch)> = slices[here.clone()]
                .par_chunks(chunk)
                .zip(runs.par_chunks(chunk))
                .map(|(slices, runs)| {
                    let of_slices = slices.par_iter().zip(runs);
                    let counted =
                        of_slices.map(|(slice, run)| CountedSlice::of(slice, run, at_hand));
                    let counted = counted.collect();
                    (counted, Batch::of(slices, runs))
                })
                .collect();
            for ((of_slices, batch), slices) in
                counted.into_iter().zip(slices[here.clone()].chunks(chunk))
            {
                for (mean, average) in batches.iter_mut().zip(batch.averages) {
                    mean.add(slices, average);
                }
                if at_hand {
                    for (sorted, keys) in sorted.iter_mut().zip(batch.keys) {
                        sorted.push(keys);
                    }
                }
                for (slice, counted) in slices.iter().zip(of_slices) {
                    metrics.add_slice(slice, &counted, &mut curves);
                }
            }
            first = here.end;
        }
        let rankings = match at_hand {
            true => rankings_of_batches(sorted),
            false => pixel_rankings(source, slices)?,
        };
        if at_hand {
            for (of_setup, patients) in metrics
                .setups
                .iter_mut()
                .zip(patients_at_hand(source, slices)?)
            {
                of_setup.patients = patients;
            }
        }
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
            if let Some(histogram) = &counted.histogram {
                of_setup
                    .patients
                    .entry(slice.patient)
                    .or_insert_with(|| ScoreHistogram::empty(Resolution::Coarse))
                    .merge(histogram);
            }
        }
    }
}

impl CountedSlice {
    fn of(slice: &SliceStatistics, run: &[u32], at_hand: bool) -> Self {
        let thresholded = slice.unhealthy || slice.classified_unhealthy;
        let histogram =
            (thresholded || !at_hand).then(|| ScoreHistogram::from_run(run, Resolution::Coarse));
        let of_curve = histogram.as_ref().filter(|_| thresholded);
        Self {
            average_precision: slice_average_precision(run),
            curve: of_curve.map(|histogram| SliceCurve::new(slice.overlap, histogram)),
            histogram: histogram.filter(|_| !at_hand && !run.is_empty()),
        }
    }
}

impl Batch {
    fn of(slices: &[SliceStatistics], runs: &[Vec<u32>]) -> Self {
        let keys = [true, false].map(|unhealthy| {
            let of_slices = slices.iter().zip(runs);
            let wanted = of_slices.filter(|(slice, _)| slice.unhealthy == unhealthy);
            let runs: Vec<&[u32]> = wanted.map(|(_, run)| run.as_slice()).collect();
            let mut keys = runs.concat();
            radsort::sort(&mut keys);
            keys
        });
        let [unhealthy, all] = average_precisions(&keys[0], &keys[1]);
        Self {
            averages: [all, unhealthy],
            keys,
        }
    }
}

/// The histograms of both set-ups, in the order of [`Setup::ALL`], patient beside patient.
fn patients_at_hand<S: RunSource + ?Sized>(
    source: &S,
    slices: &[SliceStatistics],
) -> Result<[PatientHistograms; 2], S::Error> {
    let mut of_patients = BTreeMap::<u32, Kinds<Vec<usize>>>::new();
    for (index, slice) in slices.iter().enumerate() {
        let kinds = of_patients.entry(slice.patient).or_default();
        kinds[usize::from(!slice.unhealthy)].push(index);
    }
    let of_patients: Vec<(u32, Kinds<Vec<usize>>)> = of_patients.into_iter().collect();
    let found = of_patients
        .par_iter()
        .map_init(BinCounts::default, |counts, (patient, kinds)| {
            let mut histograms = Setup::ALL.map(|_| ScoreHistogram::empty(Resolution::Coarse));
            let [mixed, unhealthy] = &mut histograms;
            for (kind, indices) in kinds.iter().enumerate() {
                source.visit_runs(indices, &mut |_, run| counts.add(run))?;
                let histogram = counts.take();
                mixed.merge(&histogram);
                if kind == 0 {
                    unhealthy.merge(&histogram);
                }
            }
            Ok((*patient, histograms))
        })
        .collect::<Result<Vec<_>, S::Error>>()?;
    let mut patients = <[PatientHistograms; 2]>::default();
    for (patient, histograms) in found {
        for (patients, histogram) in patients.iter_mut().zip(histograms) {
            if !histogram.bins().is_empty() {
                patients.insert(patient, histogram);
            }
        }
    }
    Ok(patients)
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

    /// Runs that are not at hand, as those of records are not.
    struct Away<'a>(&'a CollectedRuns);

    impl RunSource for Away<'_> {
        type Error = std::convert::Infallible;

        fn visit_runs(
            &self,
            slices: &[usize],
            visit: &mut dyn FnMut(usize, &[u32]),
        ) -> Result<(), Self::Error> {
            self.0.visit_runs(slices, visit)
        }
    }

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
            let Ok(away) = RunMetrics::count(&Away(&runs), &statistics, batch);
            prop_assert_eq!(&found, &away);
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
