//! Confidence intervals by resampling patients (ANCHORS-METHODS 2.1): slices of one patient are alike, so patients,
//! not slices or pixels, are what a new data set would draw anew.
//!
//! Draws come from the counter-based generator by resample number and patients stand in the order of their numbers,
//! so the same slice list gives the same bits on any number of threads.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::average_precision::PrecisionSum;
use super::histogram_ap::{Resolution, ScoreHistogram};
use super::overlap::Overlap;
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};
use crate::random::{Domain, Stream};

/// Resamples of an interval.
const RESAMPLES: u64 = 1000;
/// The percentiles that bound 95 %.
const TAILS: [f64; 2] = [0.025, 0.975];

/// 95 % percentile interval of a mean over slices, such as DICE.
///
/// `slices` may hold several noise seeds of the same slices one after the other: the interval is then of the mean
/// over all. `None` with fewer than two patients in the set-up.
pub fn mean_interval(
    slices: &[SliceStatistics],
    setup: Setup,
    measure: fn(Overlap) -> f64,
    seed: u64,
) -> Option<[f64; 2]> {
    let mut patients: BTreeMap<u32, (f64, u64)> = BTreeMap::new();
    for (slice, overlap) in setup.slices(slices) {
        let (sum, count) = patients.entry(slice.patient).or_default();
        *sum += measure(overlap);
        *count += 1;
    }
    let patients: Vec<(f64, u64)> = patients.into_values().collect();
    interval(patients.len(), seed, |times| {
        let (mut sum, mut count) = (0.0, 0);
        for (times, (patient_sum, patient_count)) in times.iter().zip(&patients) {
            sum += f64::from(*times) * patient_sum;
            count += u64::from(*times) * patient_count;
        }
        sum / count as f64
    })
}

/// Scored pixels by patient.
pub type PatientHistograms = BTreeMap<u32, ScoreHistogram>;

/// Gathers the histogram of each patient's scored pixels in one pass over `source`.
///
/// # Errors
/// What `source` meets while reading.
pub fn patient_histograms<S: RunSource + ?Sized>(
    source: &S,
    slices: &[SliceStatistics],
    setup: Setup,
) -> Result<PatientHistograms, S::Error> {
    let mut patients = PatientHistograms::new();
    source.visit_runs(&setup.indices(slices), &mut |slice, run| {
        if !run.is_empty() {
            patients
                .entry(slices[slice].patient)
                .or_insert_with(|| ScoreHistogram::empty(Resolution::Coarse))
                .merge(&ScoreHistogram::from_run(run, Resolution::Coarse));
        }
    })?;
    Ok(patients)
}

/// 95 % percentile interval of the pooled average precision, a bin counting as a tie.
///
/// `seeds` holds one set of histograms per noise seed; all see the same draws and their values are averaged. `None`
/// with fewer than two patients.
pub fn average_precision_interval(seeds: &[PatientHistograms], seed: u64) -> Option<[f64; 2]> {
    let patients: BTreeSet<u32> = seeds.iter().flat_map(|one| one.keys().copied()).collect();
    let seeds: Vec<DenseHistograms> = seeds
        .iter()
        .map(|one| DenseHistograms::new(one, &patients))
        .collect();
    interval(patients.len(), seed, |times| {
        let sum: f64 = seeds.iter().map(|one| one.average_precision(times)).sum();
        sum / seeds.len() as f64
    })
}

/// The histograms of one noise seed with their occupied bins numbered through.
struct DenseHistograms {
    bins: usize,
    /// For each patient (bin, positives, negatives).
    patients: Vec<Vec<(usize, u64, u64)>>,
}

impl DenseHistograms {
    fn new(histograms: &PatientHistograms, patients: &BTreeSet<u32>) -> Self {
        let occupied: BTreeSet<u32> = histograms
            .values()
            .flat_map(|histogram| histogram.bins().iter().map(|bin| bin.index))
            .collect();
        let place: BTreeMap<u32, usize> = occupied.into_iter().zip(0..).collect();
        let dense = |histogram: &ScoreHistogram| {
            histogram
                .bins()
                .iter()
                .map(|bin| (place[&bin.index], bin.positives, bin.negatives))
                .collect()
        };
        Self {
            bins: place.len(),
            patients: patients
                .iter()
                .map(|patient| histograms.get(patient).map(dense).unwrap_or_default())
                .collect(),
        }
    }

    /// Average precision when each patient counts as often as `times` says; 0 when nobody with pixels is drawn.
    fn average_precision(&self, times: &[u32]) -> f64 {
        let mut counts = vec![(0_u64, 0_u64); self.bins];
        for (times, patient) in times.iter().zip(&self.patients) {
            let times = u64::from(*times);
            if times == 0 {
                continue;
            }
            for (bin, positives, negatives) in patient {
                counts[*bin].0 += times * positives;
                counts[*bin].1 += times * negatives;
            }
        }
        let mut sum = PrecisionSum::default();
        for (positives, negatives) in counts.into_iter().rev() {
            sum.add_tie(positives, negatives);
        }
        sum.average().unwrap_or(0.0)
    }
}

/// The interval of `statistic`, a function of how often each of `patients` was drawn.
fn interval(
    patients: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> f64 + Sync,
) -> Option<[f64; 2]> {
    if patients < 2 {
        return None;
    }
    let mut values: Vec<f64> = (0..RESAMPLES)
        .into_par_iter()
        .map(|resample| statistic(&draw(patients, seed, resample)))
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    Some(TAILS.map(|tail| percentile(&values, tail)))
}

/// How often each of `patients` is drawn in one resample of as many draws.
fn draw(patients: usize, seed: u64, resample: u64) -> Vec<u32> {
    let mut stream = Stream::new(seed, Domain::Bootstrap, resample, 0);
    let mut times = vec![0; patients];
    for _ in 0..patients {
        times[stream.below(patients as u64) as usize] += 1;
    }
    times
}

/// Percentile of sorted values, interpolated linearly.
fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = fraction * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = rank.ceil() as usize;
    sorted[below] + (rank - rank.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::super::score_run::score_run;
    use super::*;

    /// `patients` patients with two slices each; DICE of patient p is p / (patients - 1).
    fn slices(patients: u32) -> Vec<SliceStatistics> {
        (0..2 * patients)
            .map(|index| SliceStatistics {
                patient: index / 2,
                unhealthy: true,
                classified_unhealthy: true,
                overlap: Overlap {
                    pixels: 1000,
                    predicted: patients - 1,
                    truth: patients - 1,
                    intersection: index / 2,
                },
            })
            .collect()
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_central_limit() {
        // Uniform values on [0, 1] have variance 1/12.
        let [low, high] = mean_interval(&slices(101), Setup::Mixed, Overlap::dice, 3).unwrap();
        let half = 1.96 * (1.0_f64 / 12.0 / 101.0).sqrt();
        assert!((low - (0.5 - half)).abs() < 0.015, "{low}");
        assert!((high - (0.5 + half)).abs() < 0.015, "{high}");
    }

    #[test]
    fn threads_change_no_bit_and_seeds_do() {
        let slices = slices(30);
        let want = mean_interval(&slices, Setup::Unhealthy, Overlap::iou, 1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = pool.install(|| mean_interval(&slices, Setup::Unhealthy, Overlap::iou, 1));
        assert_eq!(alone, want);
        assert_ne!(
            mean_interval(&slices, Setup::Unhealthy, Overlap::iou, 2),
            want
        );
    }

    #[test]
    fn one_patient_has_no_interval() {
        assert_eq!(
            mean_interval(&slices(1), Setup::Mixed, Overlap::dice, 0),
            None
        );
        assert_eq!(average_precision_interval(&[], 0), None);
    }

    #[test]
    fn the_interval_of_average_precision_spans_the_patients() {
        // Half of the patients are ranked perfectly, half as badly as can be.
        let slices = slices(40);
        let runs: Vec<Vec<u32>> = slices
            .iter()
            .map(|slice| {
                let lesion = if slice.patient % 2 == 0 { 0.9 } else { 0.1 };
                score_run(&[lesion, 0.5, 0.5, 0.5], &[1, 0, 0, 0], None).unwrap()
            })
            .collect();
        let histograms = patient_histograms(runs.as_slice(), &slices, Setup::Mixed).unwrap();
        let [low, high] = average_precision_interval(&[histograms.clone(), histograms], 0).unwrap();
        // Half the lesions found first, the rest last: 1/2 + 1/2 * (about 1/4).
        assert!(low < 0.6 && 0.65 < high && high < 1.0, "{low} {high}");
    }
}
