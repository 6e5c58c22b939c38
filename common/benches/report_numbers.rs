//! What the numbers of a report take: `cargo bench --workspace --bench report_numbers [-- SLICES ROWS SEEDS]`.
//!
//! Records of one cell, with as many foreground pixels a slice as BraTS has at 128 x 128, are written into an artifact
//! store and read again for every row and seed, as if each had records of its own; so they come from the page cache.

use std::time::Instant;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::bootstrap::{interval, mean_draws, patient_sums, pixel_draws};
use anofpdm_common::metrics::{
    CollectedRuns, Overlap, REFERENCE_BATCH, RunMetrics, Setup, SliceStatistics, score_run,
};
use anofpdm_common::metrics::{Localization, MaskGrid, MaskRuns, PackedRun, RunDetail};
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::record::{Record, RestoredScore};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::wire;
use rayon::prelude::*;

const PIXELS: usize = 2975;
const SIDE: usize = 128;
const BATCH: usize = 16;
/// Slices of one patient.
const OF_PATIENT: usize = 60;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let slices: usize = numbers.next().unwrap_or(10_000);
    let rows: usize = numbers.next().unwrap_or(12);
    let seeds: usize = numbers.next().unwrap_or(3);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = ArtifactStore::open(folder.path()).expect("a store");
    let indices: Vec<usize> = (0..slices).collect();
    let records: Vec<Digest> = indices
        .par_chunks(BATCH)
        .map(|batch| {
            let scores = batch.iter().map(|slice| restored(*slice as u64));
            let bytes = wire::encode(&Record::Restored(scores.collect())).expect("a record");
            store.put(&bytes).expect("room for a record")
        })
        .collect();
    let masks: Vec<[MaskRuns; 2]> = indices
        .par_iter()
        .map(|slice| lesions(*slice as u64).map(|mask| MaskRuns::new(&mask)))
        .collect();
    let (start, start_cpu) = (Instant::now(), processor_seconds());
    let mut bits = Vec::new();
    let (mut reading, mut counting, mut drawing, mut locating) = (0.0, 0.0, 0.0, 0.0);
    let grid = MaskGrid::slice(SIDE, SIDE);
    let mut checked = 0.0;
    for _ in 0..rows {
        let begin = processor_seconds();
        let repeats: Vec<(Vec<SliceStatistics>, CollectedRuns)> =
            (0..seeds).map(|_| read(&store, &records)).collect();
        reading += processor_seconds() - begin;
        let begin = processor_seconds();
        for _ in 0..seeds {
            let located = indices.par_iter().map(|slice| {
                let read = |mask: &MaskRuns| mask.mask(SIDE * SIDE).expect("a slice");
                let [mask, truth] = &masks[*slice];
                Localization::of(&read(mask), &read(truth), &grid, 1)
            });
            checked += located
                .map(|found| found.hd95.unwrap_or(0.0).round())
                .sum::<f64>();
        }
        locating += processor_seconds() - begin;
        let begin = processor_seconds();
        let counted: Vec<RunMetrics> = repeats
            .par_iter()
            .map(|(slices, runs)| {
                let Ok(counted) = RunMetrics::count(runs, slices, REFERENCE_BATCH);
                counted
            })
            .collect();
        counting += processor_seconds() - begin;
        bits = Setup::ALL
            .iter()
            .filter_map(|setup| counted.first()?.of(*setup).ranking.average_precision)
            .map(f64::to_bits)
            .collect();
        let begin = processor_seconds();
        let all: Vec<SliceStatistics> = repeats
            .iter()
            .flat_map(|(slices, _)| slices)
            .copied()
            .collect();
        for setup in Setup::ALL {
            for measure in [Overlap::dice as fn(Overlap) -> f64, Overlap::iou] {
                let sums = patient_sums(&all, setup, measure);
                checked += mean_draws(&sums, 0)
                    .and_then(|d| interval(&d))
                    .map_or(0.0, |i| i[0]);
            }
            let patients: Vec<_> = counted.iter().map(|one| &one.of(setup).patients).collect();
            let draws = pixel_draws(&patients, 0).and_then(|d| d.average_precision_interval());
            checked += draws.map_or(0.0, |i| i[0]);
        }
        drawing += processor_seconds() - begin;
    }
    println!(
        "{slices} slices x {rows} rows x {seeds} seeds on {} thread(s): {:.1} s, {:.1} s of \
         processors (reading {reading:.1}, HD95 and lesions {locating:.1}, counting {counting:.1}, bootstrap {drawing:.1}); peak {} MiB; average precision {bits:x?}; {checked:.6}",
        rayon::current_num_threads(),
        start.elapsed().as_secs_f64(),
        processor_seconds() - start_cpu,
        peak().unwrap_or(0) >> 20
    );
}

fn read(store: &ArtifactStore, records: &[Digest]) -> (Vec<SliceStatistics>, CollectedRuns) {
    let mut slices = Vec::new();
    let mut runs = CollectedRuns::default();
    for digests in records.chunks(rayon::current_num_threads()) {
        let read: Vec<Record> = digests
            .par_iter()
            .map(|digest| {
                let bytes = store.get(digest, 64 << 20).expect("a record");
                wire::decode(&bytes).expect("a record")
            })
            .collect();
        for record in read {
            let Record::Restored(scores) = record else {
                continue;
            };
            for score in scores {
                runs.push(&score.run.unpack(), usize::MAX);
                slices.push(SliceStatistics {
                    patient: u32::try_from(slices.len() / OF_PATIENT).unwrap_or(u32::MAX),
                    unhealthy: score.overlap.truth > 0,
                    classified_unhealthy: score.overlap.predicted > 0,
                    overlap: score.overlap,
                });
            }
        }
    }
    (slices, runs)
}

/// Scores over five decades; in two slices of five one pixel in twenty is positive, and those tend to score higher.
fn restored(slice: u64) -> RestoredScore {
    let mut stream = Stream::new(2, Domain::ScoringNoise, 0, slice);
    let unhealthy = slice % 5 < 2;
    let (scores, labels): (Vec<f32>, Vec<u8>) = (0..PIXELS)
        .map(|_| {
            let draw = stream.next_u32();
            let label = u8::from(unhealthy && draw.is_multiple_of(20));
            let uniform = (draw >> 8) as f32 / (1 << 24) as f32;
            (
                (uniform * 11.5 - 11.5 + 2.0 * f32::from(label)).exp(),
                label,
            )
        })
        .unzip();
    let mut mask: Vec<u8> = scores.iter().map(|score| u8::from(*score > 0.3)).collect();
    let mut truth = labels.clone();
    mask.resize(SIDE * SIDE, 0);
    truth.resize(SIDE * SIDE, 0);
    RestoredScore {
        overlap: Overlap::count(&mask, &truth),
        threshold: 0.3,
        run: PackedRun::new(
            &score_run(&scores, &labels, None).expect("scores are finite"),
            RunDetail::Exact,
        ),
        mask: MaskRuns::new(&labels),
    }
}

/// Mask and truth of a slice: an ellipse in two slices of five, found a few pixels off, and two small components beside.
fn lesions(slice: u64) -> [Vec<u8>; 2] {
    let mut stream = Stream::new(3, Domain::ScoringNoise, 0, slice);
    let mut between = |low: u32, high: u32| f64::from(low + stream.next_u32() % (high - low));
    let (x, y) = (between(40, 88), between(40, 88));
    let (a, b) = (between(5, 22), between(5, 22));
    let (off_x, off_y) = (between(0, 7) - 3.0, between(0, 7) - 3.0);
    let others = [0; 2].map(|_| (between(20, 108), between(20, 108)));
    let within = |pixel: usize, (x, y): (f64, f64), (a, b): (f64, f64)| {
        let (row, column) = ((pixel / SIDE) as f64, (pixel % SIDE) as f64);
        ((column - x) / a).powi(2) + ((row - y) / b).powi(2) <= 1.0
    };
    let unhealthy = slice % 5 < 2;
    let mask = |pixel| {
        (unhealthy && within(pixel, (x + off_x, y + off_y), (1.1 * a, 0.9 * b)))
            || others.iter().any(|at| within(pixel, *at, (2.5, 2.5)))
    };
    let truth = |pixel| unhealthy && within(pixel, (x, y), (a, b));
    [
        (0..SIDE * SIDE)
            .map(|pixel| u8::from(mask(pixel)))
            .collect(),
        (0..SIDE * SIDE)
            .map(|pixel| u8::from(truth(pixel)))
            .collect(),
    ]
}

/// Time that processors worked for this process, which a busy machine does not change as it does the other.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = fields.get(11..13).unwrap_or_default();
    ticks
        .iter()
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// Most memory that this process had, bytes.
fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}
