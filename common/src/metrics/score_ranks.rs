//! Scores of any scale by their ranks.

use super::score_run::score_key;

/// Bits of a rank below its leading one.
const MANTISSA: u32 = 25;
/// Above the largest rank's bits.
const TOP: u32 = 32 << MANTISSA;

/// Puts in place of each score how many pixels of all runs score higher; order and ties stay, so what is counted exactly
/// does not change.
///
/// [Bins](super::histogram_ap) are as fine as floats are, which suits maps that spread over decades. A probability near 1,
/// or a map to which a constant was added, has next to all of its pixels in a few of them. Ranks from the top have bins of
/// one pixel each at the top and of a thousandth of those above further down, whatever the scale was. Beyond 2^26 pixels
/// ranks are rounded to 26 bits.
pub fn by_rank(runs: &mut [Vec<u32>]) {
    let mut orders: Vec<u32> = runs.iter().flatten().map(|key| key >> 1).collect();
    orders.sort_unstable();
    for key in runs.iter_mut().flatten() {
        let above = orders.len() - orders.partition_point(|order| *order <= *key >> 1);
        *key = score_key(TOP - 1 - rank_bits(above), *key & 1 == 1);
    }
}

/// Orders as `above` does and has the layout of a float: exponent, then what follows the leading one.
fn rank_bits(above: usize) -> u32 {
    let rank = u32::try_from(above).unwrap_or(u32::MAX).saturating_add(1);
    let exponent = rank.ilog2();
    let fraction = (u64::from(rank) << MANTISSA >> exponent) as u32 - (1 << MANTISSA);
    exponent << MANTISSA | fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::average_precision::average_precision;
    use super::super::histogram_ap::{Resolution, ScoreHistogram};
    use super::super::score_run::{is_score_run, score_run};
    use super::*;

    #[test]
    fn bits_of_ranks_ascend() {
        let ranks = [0, 1, 2, 3, 4, 1_000, 1_001, (1 << 26) - 2, 1 << 30];
        assert!(ranks.map(rank_bits).is_sorted_by(|a, b| a < b));
        assert_eq!(rank_bits(0), 0);
        assert!(rank_bits(usize::MAX) < TOP);
        assert!(TOP <= f32::INFINITY.to_bits());
    }

    #[test]
    fn crowded_scores_have_bins_of_their_own() {
        let scores: Vec<f32> = (0..4_096)
            .map(|n| 1_000.0 + f64::from(n) as f32 / 4_096.0)
            .collect();
        let labels: Vec<u8> = (0..4_096).map(|n| u8::from(n % 64 < n / 256)).collect();
        let mut runs = vec![score_run(&scores, &labels, None).unwrap()];
        let exact = average_precision(runs.as_slice(), &[0]).unwrap().unwrap();
        let bins = |runs: &[Vec<u32>]| ScoreHistogram::from_run(&runs[0], Resolution::Coarse);
        assert_eq!(bins(&runs).bins().len(), 1);
        by_rank(&mut runs);
        let bounds = bins(&runs).bounds().unwrap();
        assert!(bounds.upper - bounds.lower < 1e-3, "{bounds:?}");
        assert!(
            (bounds.lower..=bounds.upper).contains(&exact),
            "{bounds:?} {exact}"
        );
    }

    proptest! {
        #[test]
        fn order_and_ties_stay(scores in prop::collection::vec((0_u8..20, any::<bool>()), 1..60)) {
            let run = |pixels: &[(u8, bool)]| {
                let (scores, labels): (Vec<f32>, Vec<u8>) =
                    pixels.iter().map(|(score, label)| (f32::from(*score), u8::from(*label))).unzip();
                score_run(&scores, &labels, None).unwrap()
            };
            let half = scores.len() / 2;
            let before = vec![run(&scores[..half]), run(&scores[half..])];
            let mut after = before.clone();
            by_rank(&mut after);
            prop_assert!(after.iter().all(|run| is_score_run(run)));
            let of = |runs: &[Vec<u32>]| average_precision(runs, &[0, 1]);
            prop_assert_eq!(of(&before), of(&after));
        }
    }
}
