//! From the maps of a batch to its masks: the last lines of Algorithm 3, slice by slice. The table of a run, `trace` and
//! the comparison of number formats all come through here.

use anofpdm_common::anofpdm::{
    MaskRule, QuantileLevel, QuantileLevels, Segmentation, median, segment,
};
use anofpdm_common::semantics::LevelIndex;
use rayon::prelude::*;
use tch::Tensor;

use crate::host::numbers;

/// Quantile levels (Algorithm 1), row-major `[N, m]`, for slices whose M reached `peak` (f32 `[N, m]`), with
/// `max_divergence` of each modality.
///
/// # Panics
/// When `max_divergence` is not one number a modality: the caller checks its own settings.
pub fn batch_levels(peak: &Tensor, max_divergence: &[f32], rule: LevelIndex) -> Vec<QuantileLevel> {
    let modalities = peak.size()[1].unsigned_abs() as usize;
    assert_eq!(
        modalities,
        max_divergence.len(),
        "one M_max a modality. This is a bug."
    );
    let levels = QuantileLevels::default();
    numbers::<f32>(peak)
        .chunks(modalities)
        .flat_map(|slice| slice.iter().zip(max_divergence))
        .map(|(peak, max)| levels.select(*peak, *max, rule))
        .collect()
}

/// Q* and H >= Q* (Algorithm 3) of every slice of `maps` (f32 `[N, m, H, W]`) at its `levels` (row-major `[N, m]`).
pub fn segment_batch(maps: &Tensor, levels: &[QuantileLevel], rule: MaskRule) -> Vec<Segmentation> {
    let size: Vec<usize> = maps
        .size()
        .iter()
        .map(|size| size.unsigned_abs() as usize)
        .collect();
    let (modalities, height, width) = (size[1], size[2], size[3]);
    let pixels = height * width;
    numbers::<f32>(maps)
        .par_chunks(modalities * pixels)
        .zip(levels.par_chunks(modalities))
        .map(|(slice, levels)| {
            let maps: Vec<&[f32]> = slice.chunks(pixels).collect();
            let levels: Vec<f32> = levels.iter().map(|selected| selected.level).collect();
            segment(&maps, &levels, (height, width), rule)
        })
        .collect()
}

/// Median of `window` x `window` pixels of every map of a batch (f32 `[N, 1, H, W]`), slice by slice.
pub fn median_batch(maps: &Tensor, window: u32) -> Vec<Vec<f32>> {
    let side = |axis: usize| {
        maps.size()
            .get(axis)
            .map_or(0, |n| n.unsigned_abs() as usize)
    };
    let (height, width) = (side(2), side(3));
    numbers::<f32>(maps)
        .par_chunks((height * width).max(1))
        .map(|map| median(map, height, width, window))
        .collect()
}
