//! From the maps of a batch to its masks: the plain-Rust segmentation, slice by slice.

use anofpdm_common::segment::{
    MaskRule, QuantileLevels, Segmentation, divergence_ratio, level_index, median, segment,
};
use anofpdm_common::semantics::LevelIndex;
use rayon::prelude::*;
use tch::{Kind, Tensor};

/// Quantile levels of a batch (Algorithm 1), row-major `[N, m]`.
#[derive(Debug)]
pub struct BatchLevels {
    /// Index into the table of levels.
    pub index: Vec<i64>,
    /// The level.
    pub level: Vec<f32>,
}

/// Levels for slices whose M reached `peak` (f32 `[N, m]`), with `max_divergence` of each modality.
///
/// # Panics
/// When `max_divergence` is not one number a modality: the caller checks its own settings.
#[allow(clippy::cast_possible_wrap)] // 101 levels
pub fn batch_levels(peak: &Tensor, max_divergence: &[f32], rule: LevelIndex) -> BatchLevels {
    let modalities = peak.size()[1].unsigned_abs() as usize;
    assert_eq!(
        modalities,
        max_divergence.len(),
        "one M_max a modality. This is a bug."
    );
    let levels = QuantileLevels::default();
    let indices: Vec<usize> = numbers(peak)
        .chunks(modalities)
        .flat_map(|slice| slice.iter().zip(max_divergence))
        .map(|(peak, max)| level_index(divergence_ratio(*peak, *max), rule))
        .collect();
    BatchLevels {
        level: indices.iter().map(|index| levels.table()[*index]).collect(),
        index: indices.into_iter().map(|index| index as i64).collect(),
    }
}

/// Segments every slice of `maps` (f32 `[N, m, H, W]`) at its `levels` (row-major `[N, m]`).
pub fn segment_batch(maps: &Tensor, levels: &[f32], rule: MaskRule) -> Vec<Segmentation> {
    let size: Vec<usize> = maps
        .size()
        .iter()
        .map(|size| size.unsigned_abs() as usize)
        .collect();
    let (modalities, height, width) = (size[1], size[2], size[3]);
    let pixels = height * width;
    numbers(maps)
        .par_chunks(modalities * pixels)
        .zip(levels.par_chunks(modalities))
        .map(|(slice, levels)| {
            let maps: Vec<&[f32]> = slice.chunks(pixels).collect();
            segment(&maps, levels, (height, width), rule)
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
    numbers(maps)
        .par_chunks((height * width).max(1))
        .map(|map| median(map, height, width, window))
        .collect()
}

/// The numbers of a tensor in row-major order, as f32.
pub fn numbers(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor
        .to_device(tch::Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
        .view([-1]);
    let mut values = vec![0.0; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    values
}
