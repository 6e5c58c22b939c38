//! What the simplex noise of AnoDDPM takes: `cargo bench --workspace --bench simplex [-- DEVICE]`.
//!
//! One step of a batch, as a run draws it: the stencil of the step, then one field a slice and channel.
//! Prints the medians of repeats; on the CPU with one thread inside an operation.

use std::time::{Duration, Instant};

use anofpdm_common::random::{Domain, Stream};
use anofpdm_worker::diffusion::simplex::{Fractal, Permutation, Stencil};
use anofpdm_worker::torch::{self, DeviceError, DeviceSpec};

/// Side, slices, channels: the paper's batch, and a small one.
const BATCHES: [(usize, usize, usize); 2] = [(128, 33, 4), (64, 16, 2)];
const REPEATS: u64 = 7;

fn main() -> Result<(), DeviceError> {
    // Cargo adds an option of its own.
    let device = std::env::args()
        .skip(1)
        .find_map(|word| word.parse::<DeviceSpec>().ok())
        .unwrap_or(DeviceSpec::Cpu)
        .open()?;
    torch::set_threads(1);
    for (side, slices, channels) in BATCHES {
        let mut times = [Vec::new(), Vec::new()];
        for repeat in 0..REPEATS {
            let depth = 199 - i64::try_from(repeat).unwrap_or(0);
            let start = Instant::now();
            let stencil = Stencil::field(Fractal::ANODDPM, side, side, depth);
            times[0].push(start.elapsed());

            let start = Instant::now();
            let mut seeds = Stream::new(0, Domain::ScoringNoise, 0, repeat);
            let permutations: Vec<Permutation> = (0..slices * channels)
                .map(|_| Permutation::draw(&mut seeds))
                .collect();
            let fields = stencil.values(&permutations, device);
            // Reading a value waits for the device.
            assert!(fields.double_value(&[0, 0]).is_finite());
            times[1].push(start.elapsed());
        }
        let [stencil, fields] = times.map(median);
        println!(
            "{device:?}, {side} x {side}, {slices} slices x {channels} channels: stencil {stencil:.1?}, \
             fields {fields:.1?} a step; 200 steps {:.1?}",
            200 * (stencil + fields)
        );
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
