use proptest::prelude::*;

use super::super::auroc::{Case, auroc};
use super::super::average_precision::average_precision;
use super::super::score_run::score_run;
use super::*;

/// Slices of 100 pixels with scores in 0..997, or with few distinct ones.
fn runs(divisor: u32) -> Vec<Vec<u32>> {
    let pixel = |i: u32| {
        let (x, y) = (i * 7919 % 997, i * 104_729 % 1009);
        ((x / divisor) as f32, u8::from(2 * x + 3 * y > 4000))
    };
    (0..20)
        .map(|slice| {
            let pixels = 100 * slice..100 * (slice + 1);
            let (scores, labels): (Vec<f32>, Vec<u8>) = pixels.map(pixel).unzip();
            score_run(&scores, &labels, None).unwrap()
        })
        .collect()
}

/// scikit-learn 1.9.1: `average_precision_score`, `roc_auc_score`, and the false positive rate of the first point of
/// `roc_curve(drop_intermediate=False)` with a true positive rate of 0.95 or more.
#[test]
fn they_are_scikit_learns() {
    let first: Vec<usize> = (0..12).collect();
    let others: Vec<usize> = (12..20).collect();
    for (divisor, want) in [
        (
            1,
            [
                [0.2870249406941755, 0.8600956729723854, 0.36255707762557077],
                [0.2811240462487961, 0.8597542074363992, 0.35835616438356166],
            ],
        ),
        (
            100,
            [
                [0.2672522952444427, 0.8575212002609263, 0.4557077625570776],
                [0.2664447567599828, 0.8561409001956947, 0.4515068493150685],
            ],
        ),
    ] {
        for keys in [None, Some(40), Some(u64::MAX)] {
            let Ok(found) = rankings_of(runs(divisor).as_slice(), [&first, &others], keys);
            for (found, [precision, area, rate]) in found.iter().zip(want) {
                let close = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < 1e-14;
                assert!(close(found.average_precision, precision), "{found:?}");
                assert!(close(found.auroc, area), "{found:?}");
                assert!(close(found.fpr_at_95_tpr, rate), "{found:?}");
            }
        }
    }
}

#[test]
fn pixels_of_one_kind_have_no_pairs() {
    for (labels, precision) in [([0, 0], Some(0.0)), ([1, 1], Some(1.0))] {
        let runs = [score_run(&[0.5, 0.25], &labels, None).unwrap()];
        let Ok([found, _]) = rankings_of(&runs[..], [&[0], &[]], None);
        let want = PixelRanking {
            average_precision: precision,
            tie_bounds: found.tie_bounds,
            ..PixelRanking::default()
        };
        let [lower, upper] = found.tie_bounds.unwrap();
        let within = |value| lower <= value && value <= upper && upper - lower < 1e-14;
        assert!(precision.is_some_and(within), "{found:?}");
        assert_eq!(found, want);
    }
}

/// Enough pixels of few scores that buckets are counted where passes are free, between others that are sorted.
#[test]
fn crowded_buckets_are_counted_like_others() {
    let pixels = |slice: u32| {
        let pixel = move |i: u32| {
            let (x, y) = (i * 7919 % 9973, (i + slice) * 104_729 % 1009);
            let score = match i % 4 {
                0 => (1 + x) as f32 / 1e6,
                _ => 0.5 + (x % 50) as f32 / 1e5,
            };
            (score, u8::from(y < 100))
        };
        let (scores, labels): (Vec<f32>, Vec<u8>) = (0..20_000).map(pixel).unzip();
        score_run(&scores, &labels, None).unwrap()
    };
    let runs: Vec<Vec<u32>> = (0..4).map(pixels).collect();
    let crowds = runs.concat().into_iter().map(|key| key >> BUCKET_BITS);
    let of_half = 0.5_f32.to_bits() >> (BUCKET_BITS - 1);
    assert!(crowds.filter(|bucket| *bucket == of_half).count() as u64 > CROWD);
    let Ok(free) = rankings_of(runs.as_slice(), [&[0, 2], &[1, 3]], None);
    let Ok(sorted) = rankings_of(runs.as_slice(), [&[0, 2], &[1, 3]], Some(u64::MAX));
    assert_eq!(free, sorted);
}

type Pixels = Vec<(u8, u8)>;

proptest! {
    /// Against the same numbers of each set-up alone.
    #[test]
    fn one_walk_serves_both(
        slices in prop::collection::vec((prop::collection::vec((0_u8..40, 0_u8..2), 0..40), any::<bool>()), 0..8),
        keys in 1_u64..200,
    ) {
        let slices: Vec<(Pixels, bool)> = slices;
        let runs: Vec<Vec<u32>> = slices
            .iter()
            .map(|(pixels, _)| {
                let (scores, labels): (Vec<f32>, Vec<u8>) =
                    pixels.iter().map(|(score, label)| (f32::from(*score) / 8.0, *label)).unzip();
                score_run(&scores, &labels, None).unwrap()
            })
            .collect();
        let of = |wanted: bool| -> Vec<usize> {
            (0..slices.len()).filter(|index| slices[*index].1 == wanted).collect()
        };
        let (first, others) = (of(true), of(false));
        let all: Vec<usize> = (0..slices.len()).collect();
        let Ok(found) = rankings_of(runs.as_slice(), [&first, &others], Some(keys));
        for (found, indices) in found.iter().zip([&first, &all]) {
            let Ok(precision) = average_precision(runs.as_slice(), indices);
            prop_assert_eq!(found.average_precision.map(f64::to_bits), precision.map(f64::to_bits));
            let cases: Vec<Case> = indices
                .iter()
                .flat_map(|index| &runs[*index])
                .map(|key| Case { score: f32::from_bits(key >> 1), unhealthy: key & 1 == 1, patient: 0 })
                .collect();
            prop_assert_eq!(found.auroc, auroc(&cases));
        }
        let sorted = |indices: &[usize]| {
            let mut keys = indices.iter().flat_map(|index| runs[*index].clone()).collect::<Vec<_>>();
            keys.sort_unstable();
            keys
        };
        let alone = average_precisions(&sorted(&first), &sorted(&others));
        prop_assert_eq!(alone, found.map(|one| one.average_precision));
    }
}
