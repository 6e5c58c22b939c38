//! What post-processing takes: `cargo bench -p anofpdm-common --bench segmentation [-- SLICES]`.
//!
//! The 5 x 5 median, the quantile, the component filter and the whole of Algorithm 1 and 3 over slices of two
//! modalities of 128 x 128, on all threads of this machine. Prints the wall time of SLICES and of 10,000 at that
//! rate.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::segment::{drop_small, median_5x5, quantile, segment};
use rayon::prelude::*;

const SIDE: usize = 128;
const MODALITIES: usize = 2;
const SLICES: usize = 2000;
const LEVEL: f32 = 0.95;
const AREA: u32 = 40;

fn main() {
    // Cargo adds an option of its own.
    let slices = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(SLICES);
    let maps: Vec<Vec<f32>> = (0..64).map(map).collect();
    let map_of = |index: usize| &maps[index % maps.len()];
    println!(
        "{slices} slices x {MODALITIES} modalities of {SIDE} x {SIDE}, {} thread(s)",
        rayon::current_num_threads()
    );
    report("median 5 x 5", slices, MODALITIES, &|index| {
        black_box(median_5x5(map_of(index), SIDE, SIDE));
    });
    report("quantile", slices, MODALITIES, &|index| {
        black_box(quantile(map_of(index), LEVEL));
    });
    let masks: Vec<Vec<u8>> = maps
        .iter()
        .map(|map| {
            let threshold = quantile(map, LEVEL);
            map.iter()
                .map(|value| u8::from(*value >= threshold))
                .collect()
        })
        .collect();
    // One mask a slice, however many modalities.
    report("component filter", slices, 1, &|index| {
        let mut mask = masks[index % masks.len()].clone();
        drop_small(&mut mask, SIDE, SIDE, AREA);
        black_box(mask);
    });
    report("whole slice, components too", slices, 1, &|index| {
        let pair = [map_of(index).as_slice(), map_of(index + 1).as_slice()];
        let mut done = segment(&pair, &[LEVEL; MODALITIES], SIDE, SIDE);
        drop_small(&mut done.mask, SIDE, SIDE, AREA);
        black_box(done);
    });
}

fn report(what: &str, slices: usize, times: usize, work: &(dyn Fn(usize) + Sync)) {
    // Once without the clock.
    (0..slices.min(64)).into_par_iter().for_each(work);
    let start = Instant::now();
    (0..slices * times).into_par_iter().for_each(work);
    let taken = start.elapsed();
    let whole = Duration::from_secs_f64(taken.as_secs_f64() * 10_000.0 / slices as f64);
    println!("{what:30} {taken:9.2?}   10,000 slices {whole:9.2?}");
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
