//! Means over the slices of the drawn patients.

use std::collections::BTreeMap;

use super::super::overlap::Overlap;
use super::super::setup::{Setup, SliceStatistics};
use super::{in_resamples, interval};

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

/// The mean over slices in each resample; `None` with fewer than two patients.
pub fn mean_draws(patients: &PatientSums, seed: u64) -> Option<Vec<f64>> {
    let patients: Vec<(f64, u64)> = patients.values().copied().collect();
    (patients.len() > 1)
        .then(|| in_resamples(patients.len(), seed, |times| drawn_mean(times, &patients)))
}

/// 95 % percentile interval of a mean over slices, such as DICE. `None` with fewer than two patients.
pub fn mean_interval(patients: &PatientSums, seed: u64) -> Option<[f64; 2]> {
    interval(&mean_draws(patients, seed)?)
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
    let (first, second) = (mean_draws(first, seed)?, mean_draws(second, seed)?);
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    interval(&differences)
}

/// Mean over the slices of the drawn patients, each counted as often as it was drawn; every patient has slices.
fn drawn_mean(times: &[u32], patients: &[(f64, u64)]) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (times, (patient_sum, patient_count)) in times.iter().zip(patients) {
        sum += f64::from(*times) * patient_sum;
        count += u64::from(*times) * patient_count;
    }
    sum / count as f64
}
