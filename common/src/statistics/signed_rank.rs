//! Wilcoxon's signed rank test of paired differences, zeros after Pratt (J. Am. Stat. Assoc. 54, 1959): they are ranked
//! with the others and then dropped. Equal differences share their mid-rank.

use super::mid_ranks::doubled_mid_ranks;

/// Up to this many differences p is counted; beyond, the normal approximation with the correction for ties and without
/// one for continuity.
pub const EXACT_UP_TO: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// Sum of the ranks of the positive differences.
    pub positive: f64,
    /// Two-sided.
    pub p: f64,
    pub exact: bool,
}

/// Tests whether `differences` lie around 0; `None` without any. Where all are 0, p is 1.
///
/// Exact: twice the smaller of both tails of the rank sum over all signs of the differences that are not 0, at most 1.
pub fn signed_rank(differences: &[f64]) -> Option<SignedRank> {
    if differences.is_empty() {
        return None;
    }
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = doubled_mid_ranks(&sizes);
    let signed = || ranks.iter().zip(differences).filter(|(_, d)| **d != 0.0);
    let positive = signed()
        .filter(|(_, d)| **d > 0.0)
        .map(|(rank, _)| rank)
        .sum::<u64>();
    let exact = differences.len() <= EXACT_UP_TO;
    let p = if exact {
        let ranks: Vec<u64> = signed().map(|(rank, _)| *rank).collect();
        exact_p(&ranks, positive)
    } else {
        let mut sizes: Vec<f64> = sizes.into_iter().filter(|size| *size != 0.0).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let ties = sizes.chunk_by(|a, b| a == b).map(<[f64]>::len);
        normal_p(positive as f64 / 2.0, differences.len(), ties)
    };
    Some(SignedRank {
        positive: positive as f64 / 2.0,
        p,
        exact,
    })
}

/// From the doubled ranks: how many of the 2^n patterns of signs have which sum.
fn exact_p(ranks: &[u64], positive: u64) -> f64 {
    let all = ranks.iter().sum::<u64>();
    // Fifty ranks below 102 each: 2,550 sums, 2^50 patterns.
    let mut patterns = vec![0_u64; usize::try_from(all).unwrap_or(usize::MAX) + 1];
    patterns[0] = 1;
    for rank in ranks {
        let rank = usize::try_from(*rank).unwrap_or(usize::MAX);
        for sum in (rank..patterns.len()).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    // By symmetry the upper tail is the lower one of the other sign.
    let tail = positive.min(all - positive);
    let below: u64 = patterns.iter().zip(0..=tail).map(|(count, _)| count).sum();
    (2.0 * below as f64 / (ranks.len() as f64).exp2()).min(1.0)
}

/// Of `n` differences, zeros among them; `ties` are the sizes of the groups of equal ones that are not 0.
pub(super) fn normal_p(positive: f64, n: usize, ties: impl Iterator<Item = usize>) -> f64 {
    let n = n as f64;
    let (mut not_zero, mut tied) = (0.0, 0.0);
    for tie in ties {
        let tie = tie as f64;
        not_zero += tie;
        tied += tie * tie * tie - tie;
    }
    let zeros = n - not_zero;
    let mean = (n * (n + 1.0) - zeros * (zeros + 1.0)) / 4.0;
    let cubes = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
    let variance = (cubes(n) - cubes(zeros) - tied / 2.0) / 24.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (positive - mean) / variance.sqrt();
    libm::erfc(z.abs() / std::f64::consts::SQRT_2).clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::differences;
    use super::*;

    /// n, modulus, shift; sum of the positive ranks, p.
    type Case = (i32, i32, i32, f64, f64);

    /// scipy 1.17.1 `wilcoxon(zero_method="pratt")`: `method="exact"` where there are neither zeros nor ties, else, up to
    /// 13, `PermutationMethod(n_resamples=inf)`. That library has no exact answer for more with zeros or ties: there, all
    /// sums over all signs counted in fractions.
    const EXACT: [Case; 14] = [
        (2, 5, 1, 2.0, 1.0),
        (3, 1009, 400, 4.0, 0.75),
        (5, 7, 2, 10.5, 0.5),
        (6, 1009, 100, 20.0, 0.0625),
        (8, 5, 2, 11.0, 0.59375),
        (10, 1009, 300, 46.0, 0.064453125),
        (12, 9, 3, 63.0, 0.0634765625),
        (13, 7, 2, 69.0, 0.087890625),
        (20, 1009, 350, 154.0, 0.069580078125),
        (20, 11, 4, 127.0, 0.39239501953125),
        (30, 1009, 420, 317.0, 0.08406547829508781),
        (30, 9, 3, 345.0, 0.016282036900520325),
        (50, 1009, 400, 871.0, 0.023585311964122724),
        (50, 13, 5, 850.0, 0.03474877371269258),
    ];

    /// The same with `method="asymptotic"`, its default for these.
    const NORMAL: [Case; 3] = [
        (51, 1009, 400, 904.0, 0.023883041812255704),
        (60, 13, 5, 1168.5, 0.05404103463564995),
        (200, 41, 17, 12690.5, 0.0012298457196841064),
    ];

    #[test]
    fn it_is_scipys() {
        for (cases, exact) in [(&EXACT[..], true), (&NORMAL[..], false)] {
            for &(n, modulus, shift, positive, p) in cases {
                let found = signed_rank(&differences(n, modulus, shift)).unwrap();
                assert_eq!((found.positive, found.exact), (positive, exact), "{n}");
                assert!((found.p - p).abs() < 1e-13, "{n}: {} {p}", found.p);
            }
        }
    }

    #[test]
    fn nothing_is_not_tested_and_no_difference_is_none() {
        assert_eq!(signed_rank(&[]), None);
        assert_eq!(signed_rank(&[0.0; 7]).unwrap().p, 1.0);
        assert_eq!(signed_rank(&[0.0; 70]).unwrap().p, 1.0);
        // The smallest that six can have, and more than a float of the tail holds.
        assert_eq!(signed_rank(&[1.0; 6]).unwrap().p, 2.0 / 64.0);
        assert!(signed_rank(&[1.0; 4000]).unwrap().p > 0.0);
    }

    proptest! {
        #[test]
        fn the_other_sign_has_the_same_p(d in prop::collection::vec(-6_i8..7, 1..70)) {
            let d: Vec<f64> = d.into_iter().map(f64::from).collect();
            let other: Vec<f64> = d.iter().map(|d| -d).collect();
            let (one, other) = (signed_rank(&d).unwrap(), signed_rank(&other).unwrap());
            prop_assert!((one.p - other.p).abs() < 1e-12);
            prop_assert!(0.0 < one.p && one.p <= 1.0);
        }

        #[test]
        fn up_to_ten_it_is_every_pattern_of_signs(d in prop::collection::vec(-4_i8..5, 1..10)) {
            let d: Vec<f64> = d.into_iter().map(f64::from).collect();
            let sizes: Vec<f64> = d.iter().map(|d| d.abs()).collect();
            let ranks = doubled_mid_ranks(&sizes);
            let ranks: Vec<u64> =
                ranks.into_iter().zip(&d).filter(|(_, d)| **d != 0.0).map(|(rank, _)| rank).collect();
            let found = signed_rank(&d).unwrap();
            let sums: Vec<u64> = (0_u32..1 << ranks.len())
                .map(|signs| (0..).zip(&ranks).filter(|(i, _)| signs >> i & 1 == 1).map(|(_, r)| r).sum())
                .collect();
            let observed = (2.0 * found.positive) as u64;
            let tail = |far: &dyn Fn(u64) -> bool| {
                sums.iter().filter(|sum| far(**sum)).count() as f64 / sums.len() as f64
            };
            let want = 2.0 * tail(&|sum| sum <= observed).min(tail(&|sum| sum >= observed));
            prop_assert!((found.p - want.min(1.0)).abs() < 1e-12);
        }
    }
}
