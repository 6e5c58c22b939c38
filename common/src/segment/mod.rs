//! From anomaly map to mask (Algorithm 1, Algorithm 3, Appendix F, SCIENCE 4). Plain Rust, one slice at a time.
//!
//! | module | concept |
//! |---|---|
//! | [`mod@quantile`] | the level table and the quantile of a map |
//! | [`median`] | the 5x5 median filter |
//! | [`mod@components`] | connected components and the area filter |
//! | [`mod@otsu`] | Otsu's threshold |
//!
//! All arithmetic is f32 in the order the public implementation does it, so that a pixel on the threshold falls
//! on the same side.

pub mod components;
pub mod median;
pub mod otsu;
pub mod quantile;

pub use components::{Components, components, drop_small};
pub use median::median_5x5;
pub use otsu::otsu;
pub use quantile::{LEVELS, QuantileLevels, divergence_ratio, level_index, quantile};

/// Components of this many pixels or fewer are dropped before DICE and IoU (SCIENCE 5).
pub const COMPONENT_AREA: u32 = 40;

/// A slice's way from its maps to its mask. Images are row-major, `height * width`.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// Mean of the maps over the modalities, before the median filter.
    pub aam: Vec<f32>,
    /// Quantile of each modality's own map.
    pub quantiles: Vec<f32>,
    /// The threshold Q*: mean of `quantiles`.
    pub q_star: f32,
    /// The map after the median filter. Scores for average precision are read from it.
    pub aam_median: Vec<f32>,
    /// 1 where `aam_median >= q_star`, else 0.
    pub mask: Vec<u8>,
}

/// Segments one slice (Algorithm 3).
///
/// `maps` holds one `height * width` map per modality and `levels` the quantile level of each. A quantile is taken
/// over its whole unfiltered map, background included; the comparison is made on the filtered mean. A map with
/// NaN gives a NaN threshold and so an empty mask.
///
/// # Panics
/// When there is no map, when `maps` and `levels` differ in number, or when a map has another size.
pub fn segment(maps: &[&[f32]], levels: &[f32], height: usize, width: usize) -> Segmentation {
    assert!(
        !maps.is_empty() && maps.len() == levels.len(),
        "{} maps with {} levels. This is a bug.",
        maps.len(),
        levels.len()
    );
    let aam = mean_map(maps);
    let quantiles: Vec<f32> = maps
        .iter()
        .zip(levels)
        .map(|(map, level)| quantile(map, *level))
        .collect();
    let q_star = quantiles.iter().sum::<f32>() / quantiles.len() as f32;
    let aam_median = median_5x5(&aam, height, width);
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

    #[test]
    fn a_nan_map_has_an_empty_mask() {
        let (good, bad) = (vec![0.5; 36], vec![f32::NAN; 36]);
        let result = segment(&[&good, &bad], &[0.9, 0.9], 6, 6);
        assert!(result.q_star.is_nan());
        assert!(result.mask.iter().all(|pixel| *pixel == 0));
    }

    #[test]
    fn a_constant_map_is_all_set() {
        // Everything equals its own quantile, and the comparison is `>=`.
        let result = segment(&[&[0.25; 36]], &[0.98], 6, 6);
        assert!(result.mask.iter().all(|pixel| *pixel == 1));
    }

    #[test]
    fn a_fixed_threshold_includes_its_own_value() {
        assert_eq!(mask_at(&[0.1, 0.2, 0.3, f32::NAN], 0.2), [0, 1, 1, 0]);
    }
}
