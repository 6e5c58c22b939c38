//! Confidence intervals by resampling patients: slices of one patient are alike, so patients,
//! not slices or pixels, are what a new data set would draw anew.
//!
//! Draws come from the counter-based generator by resample number and patients stand in the order of their numbers,
//! so the same slice list gives the same bits on any number of threads, and rows of the same patients see the same
//! draws: their differences are paired.

mod means;
mod pixels;
mod slices;

pub use means::{PatientSums, difference_interval, mean_draws, mean_interval, patient_sums};
pub use pixels::{PatientHistograms, PixelDraws, pixel_draws};
pub use slices::auroc_interval;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::random::{Domain, Stream};

pub const RESAMPLES: u64 = 10_000;
/// The percentiles that bound 95 %.
const TAILS: [f64; 2] = [0.025, 0.975];

/// How often each of `patients` is drawn in one resample of as many draws.
pub fn times_drawn(patients: usize, seed: u64, resample: u64) -> Vec<u32> {
    let mut stream = Stream::new(seed, Domain::Bootstrap, resample, 0);
    let mut times = vec![0; patients];
    for _ in 0..patients {
        // Below the number of patients, so it fits.
        #[allow(clippy::cast_possible_truncation)]
        let place = stream.below(patients as u64) as usize;
        times[place] += 1;
    }
    times
}

/// Up to so many patients there are fewer ways to draw them (6,435 for eight) than resamples.
const FEW_PATIENTS: usize = 8;

/// What `statistic` makes of how often each patient is drawn, in each resample. What few patients can be drawn to again
/// and again is worked out once.
fn in_resamples<T: Copy + Send + Sync>(
    patients: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> T + Sync,
) -> Vec<T> {
    let draw = |resample| times_drawn(patients, seed, resample);
    if patients > FEW_PATIENTS {
        return (0..RESAMPLES)
            .into_par_iter()
            .map(|resample| statistic(&draw(resample)))
            .collect();
    }
    let drawn: Vec<Vec<u32>> = (0..RESAMPLES).map(draw).collect();
    let ways: BTreeSet<&[u32]> = drawn.iter().map(Vec::as_slice).collect();
    let known: BTreeMap<&[u32], T> = ways
        .into_par_iter()
        .map(|times| (times, statistic(times)))
        .collect();
    drawn.iter().map(|times| known[times.as_slice()]).collect()
}

/// The 95 % percentile interval of what a statistic was in the resamples; those in which it is not defined (NaN) are
/// left out. `None` where it never is.
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = values.to_vec();
    values.retain(|value| !value.is_nan());
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    Some(TAILS.map(|tail| percentile(&values, tail)))
}

/// Percentile of sorted values, interpolated linearly.
pub(in crate::metrics) fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = fraction * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = rank.ceil() as usize;
    sorted[below] + (rank - rank.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests;
