use rayon::ThreadPoolBuilder;

use super::super::auroc::{Case, auroc};
use super::super::histogram_ap::{Resolution, ScoreHistogram};
use super::super::overlap::Overlap;
use super::super::score_run::score_run;
use super::super::setup::{Setup, SliceStatistics};
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
    let pool = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = pool.install(|| mean_interval(&sums, 1));
    assert_eq!(alone, want);
    assert_ne!(mean_interval(&sums, 2), want);
}

#[test]
fn one_patient_has_no_interval() {
    assert_eq!(mean_interval(&sums(&slices(1), Overlap::dice), 0), None);
    assert_eq!(pixel_draws(&[], 0), None);
}

#[test]
fn the_interval_of_average_precision_spans_the_patients() {
    // Half of the patients are ranked perfectly, half as badly as can be.
    let slices = slices(40);
    let mut histograms = PatientHistograms::new();
    for slice in &slices {
        let lesion = if slice.patient % 2 == 0 { 0.9 } else { 0.1 };
        let run = score_run(&[lesion, 0.5, 0.5, 0.5], &[1, 0, 0, 0], None).unwrap();
        histograms
            .entry(slice.patient)
            .or_insert_with(|| ScoreHistogram::empty(Resolution::Coarse))
            .merge(&ScoreHistogram::from_run(&run, Resolution::Coarse));
    }
    let draws = pixel_draws(&[&histograms, &histograms], 0).unwrap();
    let [low, high] = draws.average_precision_interval().unwrap();
    // Half the lesions found first, the rest last: 1/2 + 1/2 * (about 1/4).
    assert!(low < 0.6 && 0.65 < high && high < 1.0, "{low} {high}");
    // The area is the share of patients ranked perfectly.
    let [low, high] = draws.auroc_interval().unwrap();
    let half = 1.96 * (0.25_f64 / 40.0).sqrt();
    assert!((low - (0.5 - half)).abs() < 0.03, "{low}");
    assert!((high - (0.5 + half)).abs() < 0.03, "{high}");
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
        let area = auroc(&cases).unwrap();
        let [low, high] = auroc_interval(&[cases], 0).unwrap();
        assert!(low < area && area < high, "{low} {area} {high}");
        high - low
    };
    assert!(width(400) < 0.6 * width(50));
}

/// Patients with thousands of scores each, far more bins than groups: against every resample ranked by its bins.
#[test]
fn groups_of_bins_are_as_good_as_bins() {
    let patients = 12;
    let mut stream = Stream::new(3, Domain::Bootstrap, 0, 0);
    let histograms: PatientHistograms = (0..patients)
        .map(|patient| {
            let quality = 0.5 * f64::from(patient);
            let (scores, labels): (Vec<f32>, Vec<u8>) = (0..4000)
                .map(|_| {
                    let label = u8::from(stream.below(20) == 0);
                    let score = 6.0 * stream.uniform() + quality * f64::from(label);
                    (score.exp() as f32, label)
                })
                .unzip();
            let run = score_run(&scores, &labels, None).unwrap();
            (patient, ScoreHistogram::from_run(&run, Resolution::Coarse))
        })
        .collect();
    let draws = pixel_draws(&[&histograms], 0).unwrap();
    let mut wide = 0.0_f64;
    for resample in 0..200 {
        let mut whole = ScoreHistogram::empty(Resolution::Coarse);
        for (histogram, times) in histograms.values().zip(times_drawn(12, 0, resample)) {
            for _ in 0..times {
                whole.merge(histogram);
            }
        }
        let want = whole.average_precision().unwrap();
        let got = draws.average_precision[usize::try_from(resample).unwrap()];
        assert!((got - want).abs() < 5e-4, "{got} {want}");
        wide = wide.max((want - draws.average_precision[0]).abs());
    }
    assert!(wide > 0.02, "the resamples differ");
}

/// Without drawing, the groups give the average precision of the bins; a score that half of the pixels have is a tie.
#[test]
fn numbers_of_many_pixels_fit() {
    let run = score_run(&[0.5, 0.5, 0.5, 2.0], &[1, 0, 0, 0], None).unwrap();
    let mut histogram = ScoreHistogram::from_run(&run, Resolution::Coarse);
    for _ in 0..29 {
        let again = histogram.clone();
        histogram.merge(&again);
    }
    let want = histogram.average_precision().unwrap();
    let histograms = PatientHistograms::from([(1, histogram.clone()), (2, histogram)]);
    let draws = pixel_draws(&[&histograms], 0).unwrap();
    assert!(
        draws
            .average_precision
            .iter()
            .all(|got| (got - want).abs() < 1e-15)
    );
    // One of three others is above, two tie.
    assert!(
        draws
            .auroc
            .iter()
            .all(|got| (got - 1.0 / 3.0).abs() < 1e-15)
    );
}
