//! Confidence intervals by resampling patients: slices of one patient are alike, so patients,
//! not slices or pixels, are what a new data set would draw anew.
//!
//! Draws come from the counter-based generator by resample number and patients stand in the order of their numbers,
//! so the same slice list gives the same bits on any number of threads.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::auroc::{Case, RankedCases};
use super::average_precision::PrecisionSum;
use super::histogram_ap::{Resolution, ScoreHistogram};
use super::overlap::Overlap;
use super::score_run::RunSource;
use super::setup::{Setup, SliceStatistics};
use crate::random::{Domain, Stream};

const RESAMPLES: u64 = 1000;
/// The percentiles that bound 95 %.
const TAILS: [f64; 2] = [0.025, 0.975];

/// Sum over slices, and number of slices, of each patient.
pub type PatientSums = BTreeMap<u32, (f64, u64)>;

/// Adds `measure` up over the slices of the set-up, patient by patient.
///
/// `slices` may hold several noise seeds of the same slices one after the other: a mean is then one over all.
pub fn patient_sums(
    slices: &[SliceStatistics],
    setup: Setup,
    measure: fn(Overlap) -> f64,
) -> PatientSums {
    let mut patients = PatientSums::new();
    for (slice, overlap) in setup.slices(slices) {
        let (sum, count) = patients.entry(slice.patient).or_default();
        *sum += measure(overlap);
        *count += 1;
    }
    patients
}

/// 95 % percentile interval of a mean over slices, such as DICE. `None` with fewer than two patients.
pub fn mean_interval(patients: &PatientSums, seed: u64) -> Option<[f64; 2]> {
    let patients: Vec<(f64, u64)> = patients.values().copied().collect();
    interval(patients.len(), seed, |times| drawn_mean(times, &patients))
}

/// 95 % percentile interval of the difference of two means over slices (the first less the second), both of the
/// patients drawn. `None` with fewer than two patients, or where the two are not of the same patients.
pub fn difference_interval(
    first: &PatientSums,
    second: &PatientSums,
    seed: u64,
) -> Option<[f64; 2]> {
    if !first.keys().eq(second.keys()) {
        return None;
    }
    let [first, second] = [first, second].map(|sums| sums.values().copied().collect::<Vec<_>>());
    interval(first.len(), seed, |times| {
        Some(drawn_mean(times, &first)? - drawn_mean(times, &second)?)
    })
}

/// Mean over the slices of the drawn patients, each counted as often as it was drawn.
fn drawn_mean(times: &[u32], patients: &[(f64, u64)]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for (times, (patient_sum, patient_count)) in times.iter().zip(patients) {
        sum += f64::from(*times) * patient_sum;
        count += u64::from(*times) * patient_count;
    }
    (count > 0).then(|| sum / count as f64)
}

/// 95 % percentile interval of the AUROC of slices, of resamples with both kinds of them.
///
/// `seeds` holds the cases of one noise seed each; all see the same draws and their values are averaged. `None` with
/// fewer than two patients, or where no resample has both kinds.
pub fn auroc_interval(seeds: &[Vec<Case>], seed: u64) -> Option<[f64; 2]> {
    let patients: BTreeSet<u32> = seeds.iter().flatten().map(|case| case.patient).collect();
    let seeds = seeds
        .iter()
        .map(|cases| RankedCases::new(cases, &patients))
        .collect::<Option<Vec<_>>>()?;
    interval(patients.len(), seed, |times| {
        let areas = seeds.iter().map(|cases| cases.area(times));
        let sum = areas.sum::<Option<f64>>()?;
        Some(sum / seeds.len() as f64)
    })
}

pub type PatientHistograms = BTreeMap<u32, ScoreHistogram>;

/// Gathers the histogram of each patient's scored pixels in one pass over `source`; `each` is shown every slice's own.
pub fn patient_histograms<S: RunSource + ?Sized>(
    source: &S,
    slices: &[SliceStatistics],
    setup: Setup,
    each: &mut dyn FnMut(&SliceStatistics, &ScoreHistogram),
) -> Result<PatientHistograms, S::Error> {
    let mut patients = PatientHistograms::new();
    source.visit_runs(&setup.indices(slices), &mut |slice, run| {
        let histogram = ScoreHistogram::from_run(run, Resolution::Coarse);
        each(&slices[slice], &histogram);
        if !run.is_empty() {
            patients
                .entry(slices[slice].patient)
                .or_insert_with(|| ScoreHistogram::empty(Resolution::Coarse))
                .merge(&histogram);
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
        Some(sum / seeds.len() as f64)
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

    /// Average precision when each patient counts as often as `times` says; 0 when no patient with pixels is drawn.
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

/// The interval of `statistic`, a function of how often each of `patients` was drawn; resamples in which it is not
/// defined are left out.
fn interval(
    patients: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
) -> Option<[f64; 2]> {
    if patients < 2 {
        return None;
    }
    let mut values: Vec<f64> = (0..RESAMPLES)
        .into_par_iter()
        .filter_map(|resample| statistic(&draw(patients, seed, resample)))
        .collect();
    if values.is_empty() {
        return None;
    }
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

    fn sums(slices: &[SliceStatistics], measure: fn(Overlap) -> f64) -> PatientSums {
        patient_sums(slices, Setup::Mixed, measure)
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_central_limit() {
        // Uniform values on [0, 1] have variance 1/12.
        let [low, high] = mean_interval(&sums(&slices(101), Overlap::dice), 3).unwrap();
        let half = 1.96 * (1.0_f64 / 12.0 / 101.0).sqrt();
        assert!((low - (0.5 - half)).abs() < 0.015, "{low}");
        assert!((high - (0.5 + half)).abs() < 0.015, "{high}");
    }

    #[test]
    fn threads_change_no_bit_and_seeds_do() {
        let sums = sums(&slices(30), Overlap::iou);
        let want = mean_interval(&sums, 1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = pool.install(|| mean_interval(&sums, 1));
        assert_eq!(alone, want);
        assert_ne!(mean_interval(&sums, 2), want);
    }

    #[test]
    fn one_patient_has_no_interval() {
        assert_eq!(mean_interval(&sums(&slices(1), Overlap::dice), 0), None);
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
        let histograms =
            patient_histograms(runs.as_slice(), &slices, Setup::Mixed, &mut |_, _| {}).unwrap();
        let [low, high] = average_precision_interval(&[histograms.clone(), histograms], 0).unwrap();
        // Half the lesions found first, the rest last: 1/2 + 1/2 * (about 1/4).
        assert!(low < 0.6 && 0.65 < high && high < 1.0, "{low} {high}");
    }

    /// Patients differ much among themselves, the two means of a patient hardly: common draws show it.
    #[test]
    fn a_difference_is_of_the_same_patients() {
        let first = sums(&slices(40), Overlap::dice);
        let second: PatientSums = first
            .iter()
            .map(|(patient, (sum, count))| (*patient, (sum - 0.02, *count)))
            .collect();
        let [low, high] = difference_interval(&first, &second, 0).unwrap();
        assert!((low - 0.01).abs() < 1e-9 && (high - 0.01).abs() < 1e-9);
        let fewer: PatientSums = first.iter().skip(1).map(|(p, s)| (*p, *s)).collect();
        assert_eq!(difference_interval(&first, &fewer, 0), None);
        let one: PatientSums = first.into_iter().take(1).collect();
        assert_eq!(difference_interval(&one, &one, 0), None);
    }

    #[test]
    fn the_interval_of_the_area_leaves_out_resamples_of_one_kind() {
        // Patient 0 alone is unhealthy: of two patients, a quarter of the resamples has no healthy slice, a quarter no
        // unhealthy one, and the others are all the same.
        let case = |score, unhealthy, patient| Case {
            score,
            unhealthy,
            patient,
        };
        let cases = vec![
            case(0.9, true, 0),
            case(0.3, true, 0),
            case(0.5, false, 1),
            case(0.1, false, 1),
        ];
        assert_eq!(
            auroc_interval(std::slice::from_ref(&cases), 0),
            Some([0.75, 0.75])
        );
        let healthy: Vec<Case> = cases.iter().filter(|c| !c.unhealthy).copied().collect();
        assert_eq!(auroc_interval(&[healthy], 0), None);
        let nan = vec![case(f32::NAN, true, 0), case(0.5, false, 1)];
        assert_eq!(auroc_interval(&[cases, nan], 0), None);
        assert_eq!(auroc_interval(&[], 0), None);
    }

    /// Score = label + noise over 60 patients: the interval covers the area and narrows with more patients.
    #[test]
    fn the_interval_of_the_area_narrows_with_patients() {
        let cases = |patients: u32| -> Vec<Case> {
            let mut stream = Stream::new(5, Domain::Bootstrap, 0, 0);
            (0..4 * patients)
                .map(|index| Case {
                    score: (stream.below(100) + if index % 2 == 0 { 30 } else { 0 }) as f32,
                    unhealthy: index % 2 == 0,
                    patient: index / 4,
                })
                .collect()
        };
        let width = |patients| {
            let cases = cases(patients);
            let area = super::super::auroc::auroc(&cases).unwrap();
            let [low, high] = auroc_interval(&[cases], 0).unwrap();
            assert!(low < area && area < high, "{low} {area} {high}");
            high - low
        };
        assert!(width(400) < 0.6 * width(50));
    }
}
