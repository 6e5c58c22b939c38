//! From the maps of a slice to its mask: the last lines of Algorithm 3, with Appendix F's filter.
//!
//! All arithmetic is f32 in the order the public implementation does it, so that a pixel on the threshold falls
//! on the same side.

use super::mask_rule::{MaskRule, QuantileOf};
use super::median::median;
use super::quantile::quantile;

/// A slice's way from its maps to its mask. Images are row-major, `height * width`.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// Mean of the maps over the modalities, before the median filter.
    pub aam: Vec<f32>,
    /// Quantile at each modality's level: of the map that [`QuantileOf`] names.
    pub quantiles: Vec<f32>,
    /// The threshold Q*: mean of `quantiles`.
    pub q_star: f32,
    /// The map after the median filter. Scores for average precision are read from it.
    pub aam_median: Vec<f32>,
    /// 1 where `aam_median >= q_star`, else 0.
    pub mask: Vec<u8>,
}

impl Segmentation {
    /// Empties the mask of a slice whose map is undefined: there is no threshold then.
    pub fn clear(&mut self) {
        self.mask.fill(0);
        self.q_star = f32::NAN;
    }
}

/// Segments one slice: Q* (Algorithm 1) and H >= Q* (Algorithm 3).
///
/// `maps` holds one `height * width` map per modality and `levels` the quantile level of each. A quantile is taken
/// over a whole map, background included; the comparison is made on the filtered mean. A map with NaN gives a NaN
/// threshold and so an empty mask.
///
/// # Panics
/// When there is no map, when `maps` and `levels` differ in number, or when a map has another size.
pub fn segment(
    maps: &[&[f32]],
    levels: &[f32],
    (height, width): (usize, usize),
    rule: MaskRule,
) -> Segmentation {
    assert!(
        !maps.is_empty() && maps.len() == levels.len(),
        "{} maps with {} levels. This is a bug.",
        maps.len(),
        levels.len()
    );
    // H of one slice: the mean over its modalities, filtered (Appendix F).
    let aam = mean_map(maps);
    let aam_median = median(&aam, height, width, rule.median);
    let quantiles: Vec<f32> = match rule.quantile_of {
        QuantileOf::Map => {
            let pairs = maps.iter().zip(levels);
            pairs.map(|(map, level)| quantile(map, *level)).collect()
        }
        QuantileOf::Filtered => {
            let levels = levels.iter();
            levels.map(|level| quantile(&aam_median, *level)).collect()
        }
    };
    // Q* (Algorithm 1), and the labels (Algorithm 3).
    let q_star = quantiles.iter().sum::<f32>() / quantiles.len() as f32;
    let mask = mask_at(&aam_median, q_star);
    Segmentation {
        aam,
        quantiles,
        q_star,
        aam_median,
        mask,
    }
}

/// 1 where a (median-filtered) map reaches `threshold`: a fixed one for Figure 5d and for the baselines, Q*
/// otherwise. NaN on either side is never set.
pub fn mask_at(aam_median: &[f32], threshold: f32) -> Vec<u8> {
    aam_median
        .iter()
        .map(|value| u8::from(*value >= threshold))
        .collect()
}

/// Pixel by pixel mean over the maps: summed in order, then divided.
fn mean_map(maps: &[&[f32]]) -> Vec<f32> {
    let mut sum = maps[0].to_vec();
    for map in &maps[1..] {
        assert_eq!(
            map.len(),
            sum.len(),
            "maps of different sizes. This is a bug."
        );
        for (total, value) in sum.iter_mut().zip(*map) {
            *total += value;
        }
    }
    let count = maps.len() as f32;
    for total in &mut sum {
        *total /= count;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: MaskRule = MaskRule {
        median: 5,
        quantile_of: QuantileOf::Map,
    };

    #[test]
    fn a_nan_map_has_an_empty_mask() {
        let (good, bad) = (vec![0.5; 36], vec![f32::NAN; 36]);
        for quantile_of in [QuantileOf::Map, QuantileOf::Filtered] {
            let rule = MaskRule {
                quantile_of,
                ..PUBLISHED
            };
            let result = segment(&[&good, &bad], &[0.9, 0.9], (6, 6), rule);
            assert!(result.q_star.is_nan());
            assert!(result.mask.iter().all(|pixel| *pixel == 0));
        }
    }

    /// Single bright pixels, which a median filter takes away: the quantile of the map lies above everything that is
    /// left, that of the filtered map does not.
    #[test]
    fn the_quantile_of_the_filtered_map_never_empties_a_mask() {
        let speckled: Vec<f32> = (0..144)
            .map(|pixel| {
                if pixel % 8 == 3 {
                    9.0
                } else {
                    pixel as f32 / 144.0
                }
            })
            .collect();
        let smooth: Vec<f32> = (0..144).map(|pixel| pixel as f32 / 288.0).collect();
        let of = |quantile_of| {
            let rule = MaskRule {
                quantile_of,
                ..PUBLISHED
            };
            segment(&[&speckled, &smooth], &[0.92, 0.96], (12, 12), rule)
        };
        let (map, filtered) = (of(QuantileOf::Map), of(QuantileOf::Filtered));
        assert_eq!(map.aam_median, filtered.aam_median);
        assert_eq!(map.quantiles[0], 9.0);
        assert!(map.mask.iter().all(|pixel| *pixel == 0));
        // At each modality's level, of the one map that is compared.
        let expected = [0.92, 0.96].map(|level| quantile(&filtered.aam_median, level));
        assert_eq!(filtered.quantiles, expected);
        assert_eq!(filtered.q_star, (expected[0] + expected[1]) / 2.0);
        assert!(filtered.mask.contains(&1));
    }

    #[test]
    fn without_a_filter_both_readings_of_one_modality_are_one() {
        let map: Vec<f32> = (0..64).map(|pixel| (pixel * 37 % 64) as f32).collect();
        let of = |quantile_of| {
            let rule = MaskRule {
                median: 1,
                quantile_of,
            };
            segment(&[&map], &[0.9], (8, 8), rule)
        };
        assert_eq!(of(QuantileOf::Map), of(QuantileOf::Filtered));
        assert_eq!(of(QuantileOf::Map).aam_median, map);
    }

    #[test]
    fn a_constant_map_is_all_set() {
        // Everything equals its own quantile, and the comparison is `>=`.
        let result = segment(&[&[0.25; 36]], &[0.98], (6, 6), PUBLISHED);
        assert!(result.mask.iter().all(|pixel| *pixel == 1));
    }

    #[test]
    fn a_fixed_threshold_includes_its_own_value() {
        assert_eq!(mask_at(&[0.1, 0.2, 0.3, f32::NAN], 0.2), [0, 1, 1, 0]);
    }
}
