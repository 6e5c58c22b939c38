//! The slices that all runs have.

use std::collections::BTreeMap;

use super::CompareError;
use super::compared::CommonSlices;
use super::opened::Opened;
use crate::report::slices::SliceName;

/// Share of common slices with a lesion in one run and none in another above which they are of other truths: resizing
/// does it to small lesions.
const OTHER_TRUTH: f64 = 0.1;

/// Slices to compare, the same of every run.
pub(super) struct Common<'a> {
    /// As the first run names them.
    pub(super) names: Vec<&'a SliceName>,
    /// `[run][slice]`: place in the run's list.
    pub(super) places: Vec<Vec<usize>>,
    /// The patient of each slice, as number.
    pub(super) patients: Vec<u32>,
    /// Names of patients by number.
    pub(super) patient_names: Vec<&'a str>,
    pub(super) told: CommonSlices,
}

/// A patient, a subject and a slice of it.
type Key<'a> = (&'a str, &'a str, i64);

fn key(name: &SliceName) -> Key<'_> {
    (&name.patient, &name.subject, name.slice)
}

impl<'a> Common<'a> {
    /// # Errors
    /// When the runs are of other stores or test slices, unless `intersect`; when they have no slice in common, or not
    /// the same truth.
    pub(super) fn of(runs: &'a [Opened], intersect: bool) -> Result<Self, CompareError> {
        let Some((first, others)) = runs.split_first() else {
            return Err(CompareError::TooFew);
        };
        let other_store = others.iter().find(|run| run.data.store != first.data.store);
        if let Some(other) = other_store.filter(|_| !intersect) {
            return Err(CompareError::OtherStore {
                first: first.path.clone(),
                second: other.path.clone(),
                stores: [first.data.store, other.data.store],
            });
        }
        let listed: Vec<BTreeMap<Key<'_>, usize>> = runs
            .iter()
            .map(|run| {
                let names = run.slices.names.iter().enumerate();
                names.map(|(place, name)| (key(name), place)).collect()
            })
            .collect();
        for (run, slices) in runs.iter().zip(&listed) {
            let missing = |these: &BTreeMap<Key<'_>, usize>, of: &BTreeMap<Key<'_>, usize>| {
                these.keys().filter(|key| !of.contains_key(*key)).count()
            };
            let (only_first, only_second) =
                (missing(&listed[0], slices), missing(slices, &listed[0]));
            if !intersect && only_first + only_second > 0 {
                return Err(CompareError::OtherSlices {
                    first: first.path.clone(),
                    second: run.path.clone(),
                    only_first,
                    only_second,
                });
            }
        }
        let (mut names, mut places) = (Vec::new(), vec![Vec::new(); runs.len()]);
        let (mut in_all, mut other_truth) = (0, 0);
        for name in &first.slices.names {
            let of_runs = listed.iter().map(|slices| slices.get(&key(name)).copied());
            let Some(of_runs) = of_runs.collect::<Option<Vec<usize>>>() else {
                continue;
            };
            in_all += 1;
            let labels = runs.iter().zip(&of_runs);
            let mut labels = labels.map(|(run, place)| run.slices.names[*place].unhealthy);
            if !labels.all(|unhealthy| unhealthy == name.unhealthy) {
                other_truth += 1;
                continue;
            }
            names.push(name);
            for (places, place) in places.iter_mut().zip(of_runs) {
                places.push(place);
            }
        }
        if names.is_empty() {
            return Err(CompareError::NothingCommon);
        }
        if other_truth as f64 > OTHER_TRUTH * in_all as f64 {
            return Err(CompareError::OtherTruth {
                slices: in_all,
                differ: other_truth,
            });
        }
        let order = first.patients();
        let numbers: BTreeMap<&str, u32> = order.iter().copied().zip(0..).collect();
        let of_slice = |name: &&SliceName| numbers.get(name.patient.as_str()).copied();
        let patients: Vec<u32> = names.iter().filter_map(of_slice).collect();
        let mut known = patients.clone();
        known.sort_unstable();
        known.dedup();
        let told = CommonSlices {
            compared: names.len(),
            of: runs.iter().map(|run| run.slices.names.len()).collect(),
            patients: known.len(),
            unhealthy: names.iter().filter(|name| name.unhealthy).count(),
            other_truth,
            intersected: other_store.is_some()
                || runs.iter().any(|run| run.slices.names.len() != names.len()),
        };
        Ok(Self {
            names,
            places,
            patients,
            patient_names: order,
            told,
        })
    }
}
