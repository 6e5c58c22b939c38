//! AUROC of the slices of the drawn patients.

use std::collections::BTreeSet;

use super::super::auroc::{Case, RankedCases};
use super::{in_resamples, interval};

/// 95 % percentile interval of the AUROC of slices, of resamples with both kinds of them.
///
/// `seeds` holds the cases of one noise seed each; all see the same draws and their values are averaged. `None` with
/// fewer than two patients, or where no resample has both kinds.
pub fn auroc_interval(seeds: &[Vec<Case>], seed: u64) -> Option<[f64; 2]> {
    let patients: BTreeSet<u32> = seeds.iter().flatten().map(|case| case.patient).collect();
    if patients.len() < 2 {
        return None;
    }
    let seeds = seeds
        .iter()
        .map(|cases| RankedCases::new(cases, &patients))
        .collect::<Option<Vec<_>>>()?;
    let values = in_resamples(patients.len(), seed, |times| {
        let areas = seeds.iter().map(|cases| cases.area(times));
        let sum = areas.sum::<Option<f64>>();
        sum.map_or(f64::NAN, |sum| sum / seeds.len() as f64)
    });
    interval(&values)
}
