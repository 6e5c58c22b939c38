//! What post-processing takes: `cargo bench --workspace --bench segmentation`.
//!
//! The median filter of 5 x 5 pixels and of 3 x 3, the quantile, the component filter and the whole of Algorithm 1 and 3 over slices of two
//! modalities of 128 x 128, on all threads of this machine. The items are slices: 10,000 of them take 10,000 divided by
//! what it prints a second.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use anofpdm_common::anofpdm::{MaskRule, drop_small, median, quantile, segment};
use anofpdm_common::random::{Domain, Stream};
use rayon::prelude::*;

const SIDE: usize = 128;
const MODALITIES: usize = 2;
/// Slices of one measurement.
const SLICES: usize = 512;
/// Maps that differ; they are taken in turn.
const MAPS: usize = 64;
const LEVEL: f32 = 0.95;
const AREA: u32 = 40;

fn main() {
    divan::main();
}

fn maps() -> Vec<Vec<f32>> {
    (0..MAPS as u64).map(map).collect()
}

/// All slices on all threads.
fn on_all_threads(bencher: Bencher<'_, '_>, work: impl Fn(usize) + Sync) {
    bencher
        .counter(ItemsCount::new(SLICES))
        .bench(|| (0..SLICES).into_par_iter().for_each(&work));
}

#[divan::bench(sample_count = 20)]
fn median_of_5_x_5(bencher: Bencher<'_, '_>) {
    let maps = maps();
    on_all_threads(bencher, |slice| {
        for modality in 0..MODALITIES {
            let map = &maps[(slice + modality) % MAPS];
            black_box(median(black_box(map), SIDE, SIDE, 5));
        }
    });
}

#[divan::bench(sample_count = 20)]
fn median_of_3_x_3(bencher: Bencher<'_, '_>) {
    let maps = maps();
    on_all_threads(bencher, |slice| {
        for modality in 0..MODALITIES {
            let map = &maps[(slice + modality) % MAPS];
            black_box(median(black_box(map), SIDE, SIDE, 3));
        }
    });
}

#[divan::bench(sample_count = 20)]
fn quantiles(bencher: Bencher<'_, '_>) {
    let maps = maps();
    on_all_threads(bencher, |slice| {
        for modality in 0..MODALITIES {
            black_box(quantile(black_box(&maps[(slice + modality) % MAPS]), LEVEL));
        }
    });
}

/// One mask a slice, however many modalities.
#[divan::bench(sample_count = 20)]
fn component_filter(bencher: Bencher<'_, '_>) {
    let masks: Vec<Vec<u8>> = maps()
        .iter()
        .map(|map| {
            let threshold = quantile(map, LEVEL);
            let set = |value: &f32| u8::from(*value >= threshold);
            map.iter().map(set).collect()
        })
        .collect();
    on_all_threads(bencher, |slice| {
        let mut mask = masks[slice % MAPS].clone();
        drop_small(&mut mask, SIDE, SIDE, AREA);
        black_box(mask);
    });
}

#[divan::bench(sample_count = 20)]
fn whole_slice_and_components(bencher: Bencher<'_, '_>) {
    let maps = maps();
    on_all_threads(bencher, |slice| {
        let pair = [0, 1].map(|modality| maps[(slice + modality) % MAPS].as_slice());
        let mut done = segment(
            black_box(&pair),
            &[LEVEL; MODALITIES],
            (SIDE, SIDE),
            MaskRule::default(),
        );
        drop_small(&mut done.mask, SIDE, SIDE, AREA);
        black_box(done);
    });
}

/// A map as a network makes them: small values, a few bright spots.
fn map(index: u64) -> Vec<f32> {
    let mut stream = Stream::new(1, Domain::ScoringNoise, 0, index);
    let mut uniform = || stream.next_u32() as f32 / u32::MAX as f32;
    let spots: Vec<[f32; 3]> = (0..5)
        .map(|_| [uniform() * 128.0, uniform() * 128.0, 3.0 + uniform() * 8.0])
        .collect();
    (0..SIDE * SIDE)
        .map(|pixel| {
            let (y, x) = ((pixel / SIDE) as f32, (pixel % SIDE) as f32);
            let bright: f32 = spots
                .iter()
                .map(|[row, column, size]| {
                    (-((y - row).powi(2) + (x - column).powi(2)) / (size * size)).exp()
                })
                .sum();
            (0.02 * uniform()).powi(2) + 0.1 * bright
        })
        .collect()
}
