//! What exact pooled average precision takes: `cargo bench --workspace --bench average_precision [-- SLICES]`.
//!
//! 10,000 slices of 128 x 128 are 164 million pixels, all of them foreground: more than any real set has. The sorted
//! runs are made first and held in memory, where a run reads them from its records; making them is timed apart, and
//! memory is what the counting takes on top.

use std::time::{Duration, Instant};

use anofpdm_common::metrics::{average_precision, score_run};
use anofpdm_common::random::{Domain, Stream};

const PIXELS: usize = 128 * 128;
const SLICES: usize = 10_000;

fn main() {
    // Cargo adds an option of its own.
    let slices = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(SLICES);
    let mut making = Duration::ZERO;
    let runs: Vec<Vec<u32>> = (0..slices)
        .map(|slice| {
            let (scores, labels) = pixels(slice as u64);
            let start = Instant::now();
            let run = score_run(&scores, &labels, None).expect("scores are finite");
            making += start.elapsed();
            run
        })
        .collect();
    let all: Vec<usize> = (0..slices).collect();
    let before = resident();
    // The peak from here on. Without the right to write it the peak includes what was before.
    let forgotten = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let start = Instant::now();
    let average = average_precision(runs.as_slice(), &all);
    let taken = start.elapsed();
    let Ok(Some(average)) = average else {
        panic!("there are pixels");
    };
    println!(
        "{:.1} million pixels, {} thread(s): runs {making:.2?} on one thread, average precision {average:.6} in {taken:.2?}",
        (slices * PIXELS) as f64 / 1e6,
        rayon::current_num_threads()
    );
    if let (true, Some(before), Some(peak)) = (forgotten, before, status("VmHWM:")) {
        println!(
            "memory: runs {} MiB, counting {} MiB more",
            before >> 20,
            peak.saturating_sub(before) >> 20
        );
    }
}

fn resident() -> Option<u64> {
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Scores over five decades; one pixel in fifty is positive, and those tend to score higher.
fn pixels(slice: u64) -> (Vec<f32>, Vec<u8>) {
    let mut stream = Stream::new(2, Domain::ScoringNoise, 0, slice);
    (0..PIXELS)
        .map(|_| {
            let draw = stream.next_u32();
            let label = u8::from(draw.is_multiple_of(50));
            let uniform = (draw >> 8) as f32 / (1 << 24) as f32;
            let score = (uniform * 11.5 - 11.5 + f32::from(label)).exp();
            (score, label)
        })
        .unzip()
}
