//! Otsu's threshold of one map: the native post-processing of classifier-guided methods.

const BINS: usize = 256;

/// The threshold that splits the values of a map into two classes with the largest variance between them (Otsu 1979,
/// on a histogram of 256 bins from the smallest to the largest value). A value belongs to the upper class where it
/// reaches the threshold, which is the lower edge of the upper class's first bin.
///
/// For maps below 2^26 pixels, far more than a slice has. Counts are integers and the comparison of variances is exact, so the result depends on no order; the lowest of
/// equal splits is taken. Where all values are equal there is nothing to split: the threshold is the next number
/// above them, and the mask is empty. NaN where a value is not finite, or there is none.
pub fn otsu(map: &[f32]) -> f32 {
    let finite = !map.is_empty() && map.iter().all(|value| value.is_finite());
    if !finite {
        return f32::NAN;
    }
    let lowest = map.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if lowest == highest {
        return highest.next_up();
    }
    let scale = Scale { lowest, highest };
    let mut counts = [0_u64; BINS];
    for value in map {
        counts[scale.bin(*value)] += 1;
    }
    scale.lower_edge(best_split(&counts))
}

/// Equal bins between two different values.
struct Scale {
    lowest: f32,
    highest: f32,
}

impl Scale {
    fn width(&self) -> f64 {
        (f64::from(self.highest) - f64::from(self.lowest)) / BINS as f64
    }

    /// The last bin holds the highest value too.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 255 and a bit
    fn bin(&self, value: f32) -> usize {
        let mut bin = ((f64::from(value) - f64::from(self.lowest)) / self.width()) as usize;
        bin = bin.min(BINS - 1);
        // Dividing and multiplying back may disagree by a rounding error: the edge, as a float, decides.
        while bin > 0 && value < self.lower_edge(bin) {
            bin -= 1;
        }
        while bin < BINS - 1 && value >= self.lower_edge(bin + 1) {
            bin += 1;
        }
        bin
    }

    #[allow(clippy::cast_possible_truncation)] // maps are float32
    fn lower_edge(&self, bin: usize) -> f32 {
        (f64::from(self.lowest) + bin as f64 * self.width()) as f32
    }
}

/// First bin of the upper class. Both classes hold something.
fn best_split(counts: &[u64; BINS]) -> usize {
    let all: u64 = counts.iter().sum();
    let moment: u64 = (0..).zip(counts).map(|(bin, count)| bin * count).sum();
    let (mut below, mut below_moment) = (0_u64, 0_u64);
    // Variance between the classes: (all * below_moment - moment * below)^2 / (below * above), up to a constant.
    let mut best: Option<(usize, u128, u128)> = None;
    for split in 1..BINS {
        below += counts[split - 1];
        below_moment += (split as u64 - 1) * counts[split - 1];
        let above = all - below;
        if below == 0 || above == 0 {
            continue;
        }
        let distance = (all * below_moment).abs_diff(moment * below);
        let distance = u128::from(distance);
        let numerator = distance * distance;
        let denominator = u128::from(below) * u128::from(above);
        let better = best.is_none_or(|(_, n, d)| larger((numerator, denominator), (n, d)));
        if better {
            best = Some((split, numerator, denominator));
        }
    }
    best.map_or(BINS - 1, |(split, _, _)| split)
}

/// Whether fraction a is larger than fraction b, exactly: whole parts first, then what is left of them.
const fn larger(mut a: (u128, u128), mut b: (u128, u128)) -> bool {
    loop {
        let (whole_a, whole_b) = (a.0 / a.1, b.0 / b.1);
        if whole_a != whole_b {
            return whole_a > whole_b;
        }
        let (rest_a, rest_b) = (a.0 % a.1, b.0 % b.1);
        if rest_a == 0 || rest_b == 0 {
            return rest_a > rest_b;
        }
        // rest_a / a.1 > rest_b / b.1 where b.1 / rest_b > a.1 / rest_a.
        (a, b) = ((b.1, rest_b), (a.1, rest_a));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_parted_between_them() {
        let mut map = vec![0.1_f32; 90];
        map.extend([0.11; 10]);
        map.extend([0.9; 20]);
        let threshold = otsu(&map);
        assert!(threshold > 0.11 && threshold <= 0.9, "{threshold}");
        // Shifting and stretching a map moves its threshold with it.
        let moved: Vec<f32> = map.iter().map(|value| value * 4.0 - 2.0).collect();
        let reached = |map: &[f32], threshold| map.iter().filter(|v| **v >= threshold).count();
        assert_eq!(reached(&map, threshold), 20);
        assert_eq!(reached(&moved, otsu(&moved)), 20);
    }

    #[test]
    fn the_split_is_the_best_of_all() {
        // Against the definition, in floating point, on a map without symmetry.
        let map: Vec<f32> = (0..1_000_u16)
            .map(|n| (f32::from(n) * 0.37).sin().powi(3) + f32::from(n % 7) * 0.11)
            .collect();
        let between = |threshold: f32| {
            let (lower, upper): (Vec<f32>, Vec<f32>) = map.iter().partition(|v| **v < threshold);
            let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
            lower.len() as f64 * upper.len() as f64 * (mean(&lower) - mean(&upper)).powi(2)
        };
        let lowest = map.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let best = (1..BINS)
            .map(|bin| between(lowest + (highest - lowest) * bin as f32 / BINS as f32))
            .fold(0.0, f64::max);
        // The bins round the means, so the two agree to about a bin's width.
        assert!(between(otsu(&map)) > 0.998 * best);
    }

    #[test]
    fn nothing_to_split() {
        let threshold = otsu(&[0.5; 9]);
        assert!(threshold > 0.5 && threshold < 0.500_001);
        assert!(otsu(&[0.5, f32::NAN]).is_nan());
        assert!(otsu(&[]).is_nan());
        // Two values: the upper one is the anomaly, however close they are.
        let (lower, upper) = (0.5_f32, 0.5_f32.next_up());
        let threshold = otsu(&[lower, upper]);
        assert!(threshold > lower && threshold <= upper);
    }

    #[test]
    fn fractions_are_compared_exactly() {
        let big = u128::MAX / 2;
        assert!(larger((big, big - 1), (big - 1, big - 1)));
        assert!(!larger((big - 1, big), (big, big + 1)));
        assert!(larger((1, 2), (1, 3)) && !larger((2, 4), (1, 2)));
    }
}
