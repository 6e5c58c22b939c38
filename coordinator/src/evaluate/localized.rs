//! HD95 and lesion-wise F1 of a row.

use anofpdm_common::metrics::bootstrap::{PatientSums, mean_interval};
use anofpdm_common::metrics::setup::{Setup, SliceStatistics};
use anofpdm_common::metrics::{LesionCounts, Localization};

use super::measured::{BOOTSTRAP_SEED, Repeat};
use crate::report::summary::{Localized, Value};

/// Of a set-up, each repeat as often as it stands for a seed.
pub(super) fn localized<S>(setup: Setup, repeats: &[Repeat<S>]) -> Localized {
    let (mut hd95, mut hd95_sums, mut defined) = (Vec::new(), PatientSums::new(), 0);
    let (mut f1, mut f1_sums) = (Vec::new(), PatientSums::new());
    for repeat in repeats {
        let (mut sum, mut count) = (0.0, 0_usize);
        let mut lesions = LesionCounts::default();
        for (slice, found) in of_setup(setup, repeat) {
            if let Some(distance) = found.hd95 {
                add(&mut hd95_sums, slice.patient, distance, 1, repeat.seeds);
                sum += distance;
                count += 1;
            }
            let (hits, all) = found.lesions.f1_terms();
            add(&mut f1_sums, slice.patient, hits as f64, all, repeat.seeds);
            lesions.add(found.lesions);
        }
        defined += count * repeat.seeds;
        hd95.extend(vec![(count > 0).then(|| sum / count as f64); repeat.seeds]);
        f1.extend(vec![lesions.f1(); repeat.seeds]);
    }
    Localized {
        hd95: Value::over_seeds(hd95, mean_interval(&hd95_sums, BOOTSTRAP_SEED)),
        hd95_slices: defined,
        lesion_f1: Value::over_seeds(f1, mean_interval(&f1_sums, BOOTSTRAP_SEED)),
    }
}

/// The slices of a set-up, with what they count with.
fn of_setup<S>(
    setup: Setup,
    repeat: &Repeat<S>,
) -> impl Iterator<Item = (&SliceStatistics, Localization)> {
    let both = repeat.slices.iter().zip(&repeat.localizations);
    both.filter(move |(slice, _)| setup.includes(slice))
        .map(move |(slice, found)| match setup.empties(slice) {
            true => (slice, found.emptied()),
            false => (slice, *found),
        })
}

fn add(sums: &mut PatientSums, patient: u32, sum: f64, count: u64, times: usize) {
    let (total, number) = sums.entry(patient).or_default();
    *total += sum * times as f64;
    *number += count * times as u64;
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::Overlap;

    use super::*;

    fn slice(patient: u32, truth: u32, called: bool) -> SliceStatistics {
        SliceStatistics {
            patient,
            unhealthy: truth > 0,
            classified_unhealthy: called,
            overlap: Overlap {
                pixels: 100,
                predicted: 3,
                truth,
                intersection: 0,
            },
        }
    }

    fn found(hd95: Option<f64>, [truth, found, predicted, spurious]: [u64; 4]) -> Localization {
        Localization {
            hd95,
            lesions: LesionCounts {
                truth,
                found,
                predicted,
                spurious,
            },
        }
    }

    /// By hand: one lesion found of two, one made up, one slice called healthy, one healthy slice.
    #[test]
    fn what_is_called_healthy_finds_nothing_in_mixed_numbers() {
        let repeat = Repeat {
            slices: vec![slice(0, 5, true), slice(0, 5, false), slice(1, 0, true)],
            localizations: vec![
                found(Some(2.0), [1, 1, 1, 0]),
                found(Some(4.0), [1, 1, 2, 1]),
                found(None, [0, 0, 2, 2]),
            ],
            runs: (),
            seeds: 2,
        };
        let repeats = [repeat];
        let mixed = localized(Setup::Mixed, &repeats);
        assert_eq!(mixed.hd95.per_seed, [Some(2.0); 2]);
        assert_eq!(mixed.hd95_slices, 2);
        // 2 TP / (2 TP + FN + FP) = 2 / (2 + 1 + 2).
        assert_eq!(mixed.lesion_f1.mean, Some(0.4));
        let unhealthy = localized(Setup::Unhealthy, &repeats);
        assert_eq!(unhealthy.hd95.mean, Some(3.0));
        assert_eq!(unhealthy.hd95_slices, 4);
        assert_eq!(unhealthy.lesion_f1.mean, Some(0.8));
        // One patient alone has lesions, so no interval.
        assert_eq!(unhealthy.hd95.ci95, None);
    }

    #[test]
    fn nothing_is_undefined() {
        let repeat = Repeat {
            slices: vec![slice(0, 0, false)],
            localizations: vec![found(None, [0, 0, 1, 1])],
            runs: (),
            seeds: 1,
        };
        let mixed = localized(Setup::Mixed, &[repeat]);
        assert_eq!((mixed.hd95.mean, mixed.lesion_f1.mean), (None, None));
    }
}
